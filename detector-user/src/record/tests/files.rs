//! The recording's file: new, private, and bounded; what happens on a slow or full disk.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
};

use super::*;

#[test]
fn a_recording_is_a_new_file_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r");
    record_a_cut(&file, &Settings::default(), Duration::ZERO, false);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let before = fs::read(&file).unwrap();
    let create = |path: &Path| {
        let header = header(&Settings::default());
        let created = Recorder::create(path, NO_LIMIT, &header);
        created.map(|_| ()).unwrap_err().to_string()
    };
    let error = create(&file);
    assert!(error.contains("is there already"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before, "it is as it was");
    let error = create(&dir.path().join("no/r"));
    assert!(error.starts_with("cannot create the recording"), "{error}");
}

#[test]
fn a_recording_ends_within_its_limit_and_the_detector_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (bounded, whole) = (dir.path().join("bounded"), dir.path().join("whole"));
    let settings = Settings::default();
    record_a_cut(&whole, &settings, Duration::ZERO, false);
    let limit = fs::metadata(&whole).unwrap().len() / 2;

    let recorder = Recorder::create(&bounded, limit, &header(&settings)).unwrap();
    let taped = Taped::new(settings, Some(recorder));
    let published = drive_a_cut(taped, Duration::ZERO, false);
    assert_eq!(story(&published), STORY);

    let size = fs::metadata(&bounded).unwrap().len();
    assert!(size <= limit && size > limit / 2, "{size} of {limit}");
    let (mut bounded, mut whole) = (open(&bounded), open(&whole));
    loop {
        let entry = bounded.read().unwrap().unwrap();
        if entry.input == Input::End(Ending::Limit) {
            break;
        }
        assert_eq!(Some(entry), whole.read().unwrap());
    }
    assert_eq!(bounded.read().unwrap(), None);
    assert_eq!(bounded.ending(), Some(Ending::Limit));
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that takes the header, and then blocks until it is released.
struct Stuck {
    out: Shared,
    stuck: Receiver<()>,
    begun: bool,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.begun, true) {
            let _ = self.stuck.recv();
        }
        self.out.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_is_too_slow_ends_the_recording_and_leaves_no_hole() {
    let out = Shared::default();
    let (release, stuck) = channel();
    let disk = Stuck {
        out: out.clone(),
        stuck,
        begun: false,
    };
    let settings = Settings::default();
    let few = 20 * size_of::<Entry>();
    let name = Path::new("r");
    let recorder = Recorder::to(disk, name, NO_LIMIT, few, &header(&settings)).unwrap();
    let mut taped = Taped::new(settings, Some(recorder));
    for n in 1..=1_000_000 {
        taped.handle_timeout(ms(n));
        if n == 1_000 {
            drop(taped.poll_effect());
        }
    }
    drop(release);
    taped.finish(ms(2_000_000));

    let bytes = out.0.lock().unwrap().clone();
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let mut next = 1;
    let last = loop {
        let entry = reader.read().unwrap().unwrap();
        match entry.input {
            Input::End(_) => break entry,
            _ => assert_eq!(entry.now, ms(next), "none is missing before the end"),
        }
        next += 1;
    };
    assert_eq!(last.input, Input::End(Ending::TooSlow));
    assert_eq!(last.now, ms(next), "it ends where the first is missing");
    assert!(next > 10, "{next}");
    assert_eq!(reader.read().unwrap(), None);
}

/// A disk that is full after `room` bytes.
struct Full {
    out: Shared,
    room: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.out.write(&bytes[..taken])
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_the_detector_goes_on() {
    let out = Shared::default();
    let disk = Full {
        out: out.clone(),
        room: 20_000,
    };
    let settings = Settings::default();
    let name = Path::new("r");
    let recorder = Recorder::to(disk, name, NO_LIMIT, usize::MAX, &header(&settings)).unwrap();
    let taped = Taped::new(settings.clone(), Some(recorder));
    let published = drive_a_cut(taped, Duration::ZERO, false);
    assert_eq!(story(&published), STORY);

    let bytes = out.0.lock().unwrap().clone();
    assert_eq!(bytes.len(), 20_000);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    while reader.read().unwrap().is_some() {}
    assert!(reader.torn_line().is_some());
    assert_eq!(reader.ending(), None);

    let none = Full {
        out: Shared::default(),
        room: 0,
    };
    let begun = Recorder::to(none, name, NO_LIMIT, usize::MAX, &header(&settings));
    assert_eq!(begun.unwrap_err().kind(), io::ErrorKind::StorageFull);
}
