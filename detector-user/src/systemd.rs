//! Asks systemd over D-Bus for a unit's cgroup.

use std::{thread, time::Duration};

use tokio::{runtime, time::timeout};
use tracing::debug;
use zbus::{Address, OwnedObjectPath, OwnedVariant, connection};

/// How long systemd has to answer.
const LIMIT: Duration = Duration::from_millis(500);

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The path of the unit's cgroup from the root of the tree, as systemd gives it on the system bus;
/// `None` without an answer. Blocks for half a second at most.
pub fn control_group(unit: &str) -> Option<String> {
    control_group_by(unit, Address::system().ok()?)
}

/// Like [`control_group`], on the bus at this address.
pub fn control_group_by(unit: &str, bus: Address) -> Option<String> {
    let unit = unit.to_owned();
    // This needs a thread of its own: the caller's may be in a runtime already.
    let asking = thread::Builder::new().name("systemd".to_owned());
    let asking = asking.spawn(move || answer(&unit, bus)).ok()?;
    asking.join().ok()?
}

fn answer(unit: &str, bus: Address) -> Option<String> {
    let mut runtime = runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().ok()?;
    let asked = async { timeout(LIMIT, ask(unit, bus)).await };
    match runtime.block_on(asked) {
        Ok(Ok(path)) => Some(path).filter(|path| !path.is_empty()),
        Ok(Err(error)) => {
            debug!(unit, %error, "systemd does not say where the unit's cgroup is");
            None
        }
        Err(_) => {
            debug!(unit, "systemd did not answer within {LIMIT:?}");
            None
        }
    }
}

/// Reads the property `ControlGroup` of the unit's object, which every unit with processes has
/// (org.freedesktop.systemd1(5)).
async fn ask(unit: &str, bus: Address) -> zbus::Result<String> {
    let bus = connection::Builder::address(bus).build().await?;
    let name = (unit,);
    let get_unit = bus.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), "GetUnit", &name);
    let path: OwnedObjectPath = get_unit.await?.body().deserialize()?;
    let property = (interface(unit), "ControlGroup");
    let get = bus.call_method(Some(SYSTEMD), path, Some(PROPERTIES), "Get", &property);
    let value: OwnedVariant = get.await?.body().deserialize()?;
    String::try_from(value)
}

/// The interface of a unit's kind, as in `org.freedesktop.systemd1.Service` for `rustfs.service`.
fn interface(unit: &str) -> String {
    let kind = unit.rsplit('.').next().unwrap_or_default();
    let (first, rest) = kind.split_at(kind.floor_char_boundary(1));
    format!("{SYSTEMD}.{}{rest}", first.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_unit_has_an_interface() {
        assert_eq!(interface("a.b.service"), "org.freedesktop.systemd1.Service");
        assert_eq!(interface("x.slice"), "org.freedesktop.systemd1.Slice");
        assert_eq!(interface(""), "org.freedesktop.systemd1.");
    }

    #[test]
    fn without_a_bus_nothing_is_said() {
        let nowhere = "unix:path=/nonexistent/bus".parse().unwrap();
        assert_eq!(control_group_by("rustfs.service", nowhere), None);
    }
}
