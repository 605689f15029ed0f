"""Checks deploy/kubernetes and deploy/helm: against Kubernetes' own schemas, by Helm's own lint and
templates, against each other, and against deploy/detector.service and deploy/detector.toml.

.ci/run sets up what it needs: kubernetes-validate (schemas), helm-python-sdk (Helm 4), PyYAML.
"""

import copy
import re
import shutil
import subprocess
import sys
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

DEPLOY = Path(__file__).parent
KUBERNETES = DEPLOY / "kubernetes"
CHART = DEPLOY / "helm" / "detector"
# The oldest version that knows appArmorProfile, and the newest that the schemas know.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]

failures = []


def check(holds, what):
    if not holds:
        failures.append(what)


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def is_valid(document, origin):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            failures.append(f"{origin}, Kubernetes {version}: {error.message}")


def is_harmless(document, origin):
    """What the daemon must not ask for, and what each of its pods must say."""
    kind = document["kind"]
    check(kind in ("Namespace", "ConfigMap", "DaemonSet"), f"{origin}: what is a {kind} for?")
    if kind != "DaemonSet":
        return
    pod = document["spec"]["template"]["spec"]
    context = pod["containers"][0]["securityContext"]
    check(pod["automountServiceAccountToken"] is False, f"{origin}: a token is mounted")
    check("serviceAccountName" not in pod, f"{origin}: a service account")
    check(context["readOnlyRootFilesystem"] is True, f"{origin}: the root can be written")
    check(context["privileged"] is False, f"{origin}: privileged")
    check(context["allowPrivilegeEscalation"] is False, f"{origin}: may gain privileges")
    check(context["capabilities"]["drop"] == ["ALL"], f"{origin}: keeps capabilities")
    names = {volume["name"] for volume in pod["volumes"]}
    mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    check(names == mounts, f"{origin}: volumes {names} and mounts {mounts}")


def capabilities(daemon_set):
    context = daemon_set["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    return set(context["capabilities"]["add"])


def of_unit(path):
    """The capabilities of a systemd unit or drop-in."""
    lines = re.findall(r"^AmbientCapabilities=(.*)$", path.read_text(), re.MULTILINE)
    return {name.removeprefix("CAP_") for line in lines for name in line.split()}


def setting(text, name):
    return re.search(rf"^{name}=(.*)$", text, re.MULTILINE).group(1)


def like_the_unit(daemon_set):
    unit_file = DEPLOY / "detector.service"
    drop_ins = set().union(*(of_unit(path) for path in DEPLOY.glob("*.conf")))
    expected = of_unit(unit_file) | drop_ins
    found = capabilities(daemon_set)
    check(found == expected, f"capabilities {sorted(found)}, by the units {sorted(expected)}")
    unit = unit_file.read_text()
    pod = daemon_set["spec"]["template"]["spec"]
    container = pod["containers"][0]
    command = setting(unit, "ExecStart").split()
    probe = container["readinessProbe"]["exec"]["command"][0]
    check(command[1:] == container["args"], f"arguments {container['args']}, unit: {command}")
    check(command[0] == probe, f"the probe runs {probe}, the unit {command[0]}")
    limit = container["resources"]["limits"]["memory"]
    check(limit == setting(unit, "MemoryMax") + "i", f"memory: {limit}")
    grace = f"{pod['terminationGracePeriodSeconds']}s"
    check(grace == setting(unit, "TimeoutStopSec"), f"grace: {grace}")
    at = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    sample = (DEPLOY / "detector.toml").read_text()
    socket = re.search(r'^# socket = "(.*)"$', sample, re.MULTILINE).group(1)
    check(str(Path(socket).parent) == at["socket"], f"the socket is {socket}, mounted: {at}")
    check(str(Path(command[-1]).parent) == at["config"], f"{command[-1]} is not in {at}")
    return socket


def of_kustomize():
    """The documents by hand, as kustomize is not in a package registry; by kubectl if it is here."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    found = []
    for name in kustomization["resources"]:
        found += documents((KUBERNETES / name).read_text())
    for generator in kustomization["configMapGenerator"]:
        for name in generator["files"]:
            check((KUBERNETES / name).is_file(), f"kustomization.yaml: no file {name}")
    if not shutil.which("kubectl"):
        print("kubectl is not here: kustomization.yaml is read, not built")
        return found
    command = ["kubectl", "kustomize", KUBERNETES]
    built = subprocess.run(command, check=True, capture_output=True, text=True)
    for document in documents(built.stdout):
        is_valid(document, "kubectl kustomize")
    return found


def rendered(chart, values):
    texts = chart.render(values, name="detector", namespace="detector")
    files = {name: text for name, text in texts.items() if name.endswith(".yaml")}
    return [document for text in files.values() for document in documents(text)]


def of_chart():
    findings = helm.lint(CHART, strict=True)
    messages = [one for one in findings["messages"] if one["severity"] > 1]
    check(not messages and not findings["errors"], f"helm lint: {findings}")
    with helm.Chart.load(CHART) as chart:
        variants = {
            "values.yaml": {},
            "the host's network": {"podNamespaces": False, "appArmorProfile": "RuntimeDefault"},
            "everything set": {
                "config": 'mode = "observe"\n',
                "extraArgs": ["--log", "debug"],
                "imagePullSecrets": [{"name": "secret"}],
                "affinity": {"podAntiAffinity": {}},
                "podLabels": {"team": "storage"},
                "podAnnotations": {"note": "a"},
                "maxUnavailable": "10%",
            },
        }
        found = {name: rendered(chart, values) for name, values in variants.items()}
        for unknown in ({"imagee": {}}, {"socketGroup": "rustfs"}, {"maxUnavailable": 0}):
            try:
                chart.validate_schema(unknown)
                failures.append(f"the chart takes the values {unknown}")
            except helm.HelmError:
                pass
    return found


def one(found, kind):
    return next(document for document in found if document["kind"] == kind)


def same_pods(by_kustomize, by_chart):
    pods = []
    for document in (by_kustomize, by_chart):
        pod = copy.deepcopy(document["spec"]["template"]["spec"])
        pod["containers"][0]["image"] = ""
        next(v for v in pod["volumes"] if v["name"] == "config")["configMap"]["name"] = ""
        pods.append(pod)
    check(pods[0] == pods[1], f"the chart's pod differs:\n{pods[0]}\n{pods[1]}")


def rustfs_pods(socket):
    patch = yaml.safe_load((KUBERNETES / "rustfs-socket" / "statefulset.yaml").read_text())
    pod = patch["spec"]["template"]["spec"]
    (variable,) = pod["containers"][0]["env"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    (volume,) = pod["volumes"]
    check(variable == {"name": "RUSTFS_DETECTOR_SOCKET", "value": socket}, f"{variable}")
    directory = str(Path(socket).parent)
    check(mount["mountPath"] == volume["hostPath"]["path"] == directory, f"{mount}, {volume}")
    check(mount["name"] == volume["name"] and mount["readOnly"], f"{mount}, {volume}")


def main():
    by_kustomize, by_chart = of_kustomize(), of_chart()
    for origin, found in {"deploy/kubernetes": by_kustomize, **by_chart}.items():
        for document in found:
            is_valid(document, origin)
            is_harmless(document, origin)
    daemon_set = one(by_kustomize, "DaemonSet")
    socket = like_the_unit(daemon_set)
    same_pods(daemon_set, one(by_chart["values.yaml"], "DaemonSet"))
    without = capabilities(one(by_chart["the host's network"], "DaemonSet"))
    unit = of_unit(DEPLOY / "detector.service")
    check(without == unit, f"without podNamespaces {sorted(without)}, the unit {sorted(unit)}")
    rustfs_pods(socket)
    configs = [KUBERNETES / "detector.toml", CHART / "files" / "detector.toml"]
    check(configs[0].read_text() == configs[1].read_text(), f"{configs} differ")
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"Kubernetes {' and '.join(VERSIONS)}, Helm {helm.helm_sdk_version()}: "
          f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
