//! Each target reads its samples, damaged ones, and noise.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::{prelude::*, sample::Index};

use super::{TARGETS, Target};

/// The longest bytes that are made up.
const LONGEST: usize = 4096;

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target.name)
}

/// The samples of a target, in the order of their names.
fn samples(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = corpus(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| {
        panic!("{} has the samples of a target: {error}", folder.display())
    });
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// One change of a sample.
#[derive(Clone, Debug)]
enum Damage {
    Byte(Index, u8),
    Word(Index, u32),
    Cut(Index),
    /// A part comes once more.
    Again(Index, Index),
    Insert(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    // Bounds and lengths break most often at these.
    let edges = prop::sample::select(vec![0_u32, 1, 0x7fff, 0xffff, 0x7fff_ffff, u32::MAX]);
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        2 => (any::<Index>(), edges).prop_map(|(at, word)| Damage::Word(at, word)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Again(from, to)),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..16))
            .prop_map(|(at, more)| Damage::Insert(at, more)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let place = |index: &Index| index.index(bytes.len());
        match self {
            Self::Byte(at, byte) => {
                let at = place(at);
                bytes[at] = *byte;
            }
            Self::Word(at, word) => {
                let at = place(at);
                let there = bytes[at..].iter_mut().zip(word.to_ne_bytes());
                there.for_each(|(old, new)| *old = new);
            }
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Again(from, to) => {
                let (from, to) = (place(from), place(to));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from..from, part);
                bytes.truncate(LONGEST * 4);
            }
            Self::Insert(at, more) => {
                let at = place(at);
                bytes.splice(at..at, more.iter().copied());
            }
        }
    }
}

#[test]
fn each_sample_is_read() {
    for target in &TARGETS {
        let samples = samples(target);
        assert!(!samples.is_empty(), "{}", corpus(target).display());
        for (path, bytes) in samples {
            println!("{}", path.display());
            (target.read)(&bytes);
        }
    }
}

#[test]
fn each_folder_of_samples_has_a_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for folder in fs::read_dir(fuzz).unwrap().flatten() {
        let name = folder.file_name();
        let known = TARGETS.iter().any(|target| *target.name == *name);
        assert!(known, "{} belongs to no target", folder.path().display());
    }
}

macro_rules! withstands {
    ($($name:ident)+) => {
        /// One test for each target, so that a failure names it.
        mod damaged {
            use super::*;

            proptest! {
                $(#[test]
                fn $name(
                    sample in any::<Index>(),
                    damages in prop::collection::vec(damage(), 0..6),
                    noise in prop::collection::vec(any::<u8>(), 0..256),
                ) {
                    let target = target(stringify!($name));
                    let samples = samples(target);
                    let (_, mut bytes) = samples[sample.index(samples.len())].clone();
                    damages.iter().for_each(|damage| damage.apply(&mut bytes));
                    (target.read)(&bytes);
                    (target.read)(&noise);
                })+
            }

            #[test]
            fn none_is_forgotten() {
                let tested = [$(stringify!($name)),+];
                assert_eq!(TARGETS.map(|target| target.name), tested);
            }
        }
    };
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

withstands! { ring btf sock_diag rtnetlink arp ndp segment config grpc recording volumes }
