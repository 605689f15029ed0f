//! The four tracepoints on this kernel: where tracefs is, which it has, and the layouts of
//! their records.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use detector_ebpf::{
    ABSENT, CongStateOffsets, ErrorReportOffsets, RetransmitOffsets, SetStateOffsets, TupleOffsets,
};
use thiserror::Error;

use super::format::{Format, FormatError};

/// Where tracefs is mounted, in the order that it is looked for.
const MOUNT_POINTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A tracepoint that a program attaches to. The program bears the tracepoint's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracepoint {
    pub category: &'static str,
    pub name: &'static str,
    /// Which kernels have it, as far as was looked.
    pub kernels: &'static str,
    /// What it is for, and what is lost without it.
    pub meaning: &'static str,
}

pub const CONG_STATE_SET: Tracepoint = Tracepoint {
    category: "tcp",
    name: "tcp_cong_state_set",
    kernels: "6.1 and later, not 5.10",
    meaning: "shows each retransmission time-out and each recovery; without it time-outs are \
              seen only for segments that could still be sent, and recoveries not at all",
};
pub const RETRANSMIT_SKB: Tracepoint = Tracepoint {
    category: "tcp",
    name: "tcp_retransmit_skb",
    kernels: "5.10 and later",
    meaning: "shows tail loss probes, the earliest sign; without it the first sign is the \
              retransmission time-out, 200 ms later",
};
pub const SOCK_SET_STATE: Tracepoint = Tracepoint {
    category: "sock",
    name: "inet_sock_set_state",
    kernels: "5.10 and later",
    meaning: "shows connects that succeed or fail and flows that end; without it a failed \
              connect is not evidence and ended flows stay in the map",
};
pub const ERROR_REPORT: Tracepoint = Tracepoint {
    category: "sock",
    name: "inet_sk_error_report",
    kernels: "6.1 and later, not 5.10",
    meaning: "shows errors on a socket as they are raised; without it they are seen when the \
              flow closes",
};

/// Why the tracepoints cannot be read.
#[derive(Debug, Error)]
pub enum TracefsError {
    #[error(
        "tracefs is not mounted at {} or {}; mount it: mount -t tracefs nodev {}",
        MOUNT_POINTS[0],
        MOUNT_POINTS[1],
        MOUNT_POINTS[0]
    )]
    NotMounted,
    #[error("cannot read {}: {source}; run as root or with CAP_DAC_READ_SEARCH", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot use the tracepoint layout in {}: {source}", path.display())]
    Format { path: PathBuf, source: FormatError },
}

/// The layouts of the tracepoints' records; `None` where the kernel lacks the tracepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracepoints {
    pub cong_state: Option<CongStateOffsets>,
    pub retransmit: Option<RetransmitOffsets>,
    pub set_state: Option<SetStateOffsets>,
    pub error_report: Option<ErrorReportOffsets>,
}

impl Tracepoints {
    /// Reads the running kernel's.
    pub fn read() -> Result<Self, TracefsError> {
        let events = mount_point()?.join("events");
        Ok(Self {
            cong_state: read_one(&events, &CONG_STATE_SET, cong_state_offsets)?,
            retransmit: read_one(&events, &RETRANSMIT_SKB, retransmit_offsets)?,
            set_state: read_one(&events, &SOCK_SET_STATE, set_state_offsets)?,
            error_report: read_one(&events, &ERROR_REPORT, error_report_offsets)?,
        })
    }
}

/// Where tracefs is mounted.
pub fn mount_point() -> Result<PathBuf, TracefsError> {
    for mount in MOUNT_POINTS {
        let events = Path::new(mount).join("events");
        match fs::metadata(&events) {
            Ok(_) => return Ok(PathBuf::from(mount)),
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Err(TracefsError::Unreadable {
                    path: events,
                    source,
                });
            }
            Err(_) => {}
        }
    }
    Err(TracefsError::NotMounted)
}

/// Reads and parses one tracepoint's layout; `None` where the kernel lacks it.
pub fn read_one<T>(
    events: &Path,
    tracepoint: &Tracepoint,
    offsets: fn(&Format) -> Result<T, FormatError>,
) -> Result<Option<T>, TracefsError> {
    let path = events
        .join(tracepoint.category)
        .join(tracepoint.name)
        .join("format");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TracefsError::Unreadable { path, source }),
    };
    Format::parse(tracepoint.name, &text)
        .and_then(|format| offsets(&format))
        .map(Some)
        .map_err(|source| TracefsError::Format { path, source })
}

fn tuple_offsets(format: &Format) -> Result<TupleOffsets, FormatError> {
    Ok(TupleOffsets {
        sport: format.offset("sport", 2)?,
        dport: format.offset("dport", 2)?,
        saddr_v6: format.offset("saddr_v6", 16)?,
        daddr_v6: format.offset("daddr_v6", 16)?,
    })
}

pub fn cong_state_offsets(format: &Format) -> Result<CongStateOffsets, FormatError> {
    Ok(CongStateOffsets {
        tuple: tuple_offsets(format)?,
        skaddr: format.offset("skaddr", 8)?,
        cong_state: format.offset("cong_state", 1)?,
    })
}

pub fn retransmit_offsets(format: &Format) -> Result<RetransmitOffsets, FormatError> {
    Ok(RetransmitOffsets {
        tuple: tuple_offsets(format)?,
        skaddr: format.offset("skaddr", 8)?,
        state: format.offset("state", 4)?,
        err: format.optional("err", 4)?.unwrap_or(ABSENT),
    })
}

pub fn set_state_offsets(format: &Format) -> Result<SetStateOffsets, FormatError> {
    Ok(SetStateOffsets {
        tuple: tuple_offsets(format)?,
        skaddr: format.offset("skaddr", 8)?,
        oldstate: format.offset("oldstate", 4)?,
        newstate: format.offset("newstate", 4)?,
        protocol: format.offset("protocol", 2)?,
    })
}

pub fn error_report_offsets(format: &Format) -> Result<ErrorReportOffsets, FormatError> {
    Ok(ErrorReportOffsets {
        tuple: tuple_offsets(format)?,
        error: format.offset("error", 4)?,
        protocol: format.offset("protocol", 2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNELS: [&str; 8] = [
        "5.10", "6.1", "6.12", "6.16", "6.18", "6.18-fc", "7.0", "7.2",
    ];

    /// Lays out one kernel's files as tracefs would.
    fn events(kernel: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/source/ebpf/testdata")
            .join(kernel);
        for tracepoint in [CONG_STATE_SET, RETRANSMIT_SKB, SOCK_SET_STATE, ERROR_REPORT] {
            let source = data
                .join(tracepoint.category)
                .join(format!("{}.format", tracepoint.name));
            let target = directory
                .path()
                .join(tracepoint.category)
                .join(tracepoint.name);
            fs::create_dir_all(&target).unwrap();
            if source.exists() {
                fs::copy(source, target.join("format")).unwrap();
            }
        }
        directory
    }

    fn read(kernel: &str) -> Tracepoints {
        let directory = events(kernel);
        let events = directory.path();
        Tracepoints {
            cong_state: read_one(events, &CONG_STATE_SET, cong_state_offsets).unwrap(),
            retransmit: read_one(events, &RETRANSMIT_SKB, retransmit_offsets).unwrap(),
            set_state: read_one(events, &SOCK_SET_STATE, set_state_offsets).unwrap(),
            error_report: read_one(events, &ERROR_REPORT, error_report_offsets).unwrap(),
        }
    }

    #[test]
    fn every_kernels_files_parse() {
        for kernel in KERNELS {
            let found = read(kernel);
            assert!(found.retransmit.is_some(), "{kernel}");
            assert!(found.set_state.is_some(), "{kernel}");
            let newer = kernel != "5.10";
            assert_eq!(found.cong_state.is_some(), newer, "{kernel}");
            assert_eq!(found.error_report.is_some(), newer, "{kernel}");
        }
    }

    #[test]
    fn layouts_differ_where_the_kernels_do() {
        let oldest = read("5.10").retransmit.unwrap();
        assert_eq!(oldest.tuple.saddr_v6, 40);
        assert_eq!(oldest.err, ABSENT);
        let middle = read("6.1").retransmit.unwrap();
        assert_eq!(middle.tuple.saddr_v6, 42);
        assert_eq!(middle.err, ABSENT);
        let newest = read("6.18").retransmit.unwrap();
        assert_eq!(newest.tuple.daddr_v6, 58);
        assert_eq!(newest.err, 76);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let directory = events("6.18");
        let path = directory.path().join("tcp/tcp_retransmit_skb/format");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(
            &path,
            text.replace("skaddr;\toffset:16", "skaddr;\toffset:1x"),
        )
        .unwrap();
        let error = read_one(directory.path(), &RETRANSMIT_SKB, retransmit_offsets).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("tcp_retransmit_skb/format"), "{message}");
        assert!(message.contains("line 10"), "{message}");
    }
}
