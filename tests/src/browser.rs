//! A headless Chromium on a host of the lab, driven by the DevTools protocol over a pipe.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{Host, testbed};

/// Starting it takes seconds on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// Chromium reads descriptor 3 and writes descriptor 4.
const START: &str = r#"exec chromium "$@" 3<&0 4>&1 0</dev/null 1>&2"#;

const FLAGS: [&str; 14] = [
    "--headless=new",
    // It is root here, and the pages are our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--lang=en-GB",
    "--remote-debugging-pipe",
];

/// A browser with one page. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// The page's session.
    session: Option<String>,
    last_id: u64,
    /// What the page complained about: errors of scripts, and refused resources.
    complaints: Vec<String>,
    // Last: the browser writes to it.
    _profile: TempDir,
}

impl Browser {
    pub async fn start(host: &Host) -> anyhow::Result<Self> {
        let profile = tempfile::tempdir().context("cannot make a directory for the browser")?;
        let mut command = Command::from(host.command("sh"));
        command.args(["-c", START, "chromium"]).args(FLAGS);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.arg("about:blank").env("HOME", profile.path());
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start chromium: apt-get install chromium")?;
        let to = process.stdin.take().context("no stdin")?;
        let from = BufReader::new(process.stdout.take().context("no stdout")?);
        let mut browser = Self {
            process,
            to,
            from,
            session: None,
            last_id: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        browser.attach().await?;
        Ok(browser)
    }

    async fn attach(&mut self) -> anyhow::Result<()> {
        let target = self
            .call("Target.createTarget", json!({"url": "about:blank"}))
            .await?;
        let params = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", params).await?;
        let session = attached["sessionId"].as_str().context("no session")?;
        self.session = Some(session.to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(())
    }

    /// Calls a method of the protocol.
    pub async fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.to
            .write_all(&bytes)
            .await
            .context("chromium is gone")?;
        let answer = timeout(ANSWERED_WITHIN, self.answer(id)).await;
        answer
            .with_context(|| format!("{method}: no answer within {ANSWERED_WITHIN:?}"))?
            .with_context(|| method.to_owned())
    }

    async fn answer(&mut self, id: u64) -> anyhow::Result<Value> {
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).await?;
            ensure!(bytes.pop() == Some(0), "chromium has ended");
            let mut message: Value = serde_json::from_slice(&bytes)?;
            if message["id"] == id {
                if let Some(error) = message.get("error") {
                    bail!("{error}");
                }
                return Ok(message["result"].take());
            }
            self.hear(&message);
        }
    }

    fn hear(&mut self, event: &Value) {
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                let details = &event["params"]["exceptionDetails"];
                self.complaints.push(details.to_string());
            }
            Some("Log.entryAdded") if event["params"]["entry"]["level"] == "error" => {
                let entry = &event["params"]["entry"];
                self.complaints.push(entry.to_string());
            }
            _ => {}
        }
    }

    /// What the page complained about so far.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    pub async fn open(&mut self, url: &str) -> anyhow::Result<()> {
        let opened = self.call("Page.navigate", json!({"url": url})).await?;
        match opened["errorText"].as_str() {
            Some(error) if !error.is_empty() => bail!("{url}: {error}"),
            _ => Ok(()),
        }
    }

    /// The value of an expression in the page.
    pub async fn eval(&mut self, expression: &str) -> anyhow::Result<Value> {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut result = self.call("Runtime.evaluate", params).await?;
        if let Some(exception) = result.get("exceptionDetails") {
            bail!("{expression}: {exception}");
        }
        Ok(result["result"]["value"].take())
    }

    /// Waits until an expression in the page is true.
    pub async fn until(&mut self, expression: &str, within: Duration) -> anyhow::Result<()> {
        testbed::until(expression, within, async || {
            Ok((self.eval(expression).await? == true).then_some(()))
        })
        .await
    }

    /// The size of the window, and whether the person prefers dark pages.
    pub async fn look(&mut self, width: u32, height: u32, dark: bool) -> anyhow::Result<()> {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", size)
            .await?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).await?;
        // Drawn once more with both.
        let drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))";
        self.eval(drawn).await.map(|_| ())
    }

    /// Keeps a picture of the window.
    pub async fn picture(&mut self, file: &Path) -> anyhow::Result<()> {
        let shot = self
            .call("Page.captureScreenshot", json!({"format": "png"}))
            .await?;
        let data = shot["data"].as_str().context("no picture")?;
        let folder = file.parent().context("a picture needs a folder")?;
        fs::create_dir_all(folder)?;
        fs::write(file, BASE64_STANDARD.decode(data)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Ends it.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.session = None;
        self.call("Browser.close", json!({})).await?;
        timeout(ANSWERED_WITHIN, self.process.wait()).await??;
        Ok(())
    }
}
