//! BTF sections that the tests write themselves, damaged ones, and the running kernel's.

use super::{section::MAGIC, *};

/// Length of the header's fields up to `str_len`.
const HEADER_BYTES: usize = 24;

/// Writes a BTF section, type by type.
#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;

impl Writer {
    fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend(word.to_ne_bytes());
        }
    }

    fn header(&mut self, name: &str, kind: u32, vlen: u32, size_or_type: u32) -> u32 {
        let name = self.string(name);
        self.words(&[name, kind << 24 | vlen, size_or_type]);
        self.count += 1;
        self.count
    }

    fn int(&mut self, name: &str, size: u32) -> u32 {
        let id = self.header(name, INT, 0, size);
        self.words(&[size * 8]);
        id
    }

    /// Members are (name, type, bit offset).
    fn composite(&mut self, kind: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let id = self.header(name, kind, members.len() as u32, size);
        for (name, of, bits) in members {
            let name = self.string(name);
            self.words(&[name, *of, *bits]);
        }
        id
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [HEADER_BYTES as u32, 0, types, types, strings] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }
}

/// A kernel in small: anonymous members, typedefs, a pointer in a struct.
fn small_kernel() -> Writer {
    let mut btf = Writer::new();
    let byte = btf.int("unsigned char", 1);
    let word = btf.int("unsigned int", 4);
    let long = btf.int("long long", 8);
    let u8_type = btf.header("__u8", TYPEDEF, 0, byte);
    let net = btf.header("", PTR, 0, 0);
    let net_t = btf.composite(STRUCT, "", 8, &[("net", net, 0)]);
    let possible_net = btf.header("possible_net_t", TYPEDEF, 0, net_t);
    let atomic = btf.composite(STRUCT, "", 8, &[("counter", long, 0)]);
    let ports = btf.composite(UNION, "", 4, &[("skc_portpair", word, 0)]);
    btf.composite(
        STRUCT,
        "sock_common",
        136,
        &[
            ("", ports, 12 * 8),
            ("skc_state", u8_type, 18 * 8),
            ("skc_net", possible_net, 48 * 8),
            ("skc_cookie", atomic, 96 * 8),
        ],
    );
    let ns = btf.composite(STRUCT, "ns_common", 24, &[("inum", word, 16 * 8)]);
    btf.composite(STRUCT, "net", 4096, &[("ns", ns, 120 * 8)]);
    let inner = btf.composite(STRUCT, "", 8, &[("snd_una", word, 32)]);
    let outer = btf.composite(UNION, "", 8, &[("", inner, 0)]);
    btf.composite(
        STRUCT,
        "tcp_sock",
        2048,
        &[("", outer, 1000 * 8), ("snd_nxt", byte, 0)],
    );
    btf
}

fn found(types: &KernelTypes, field: &str) -> Result<u16, FieldError> {
    let (_, found) = types.fields.iter().find(|(name, _)| name == field).unwrap();
    found.clone()
}

#[test]
fn walks_typedefs_nested_and_anonymous_members() {
    let types = KernelTypes::parse(&small_kernel().bytes()).unwrap();
    assert_eq!(types.offsets.state, 18);
    assert_eq!(types.offsets.net, 48);
    assert_eq!(types.offsets.cookie, 96);
    assert_eq!(types.offsets.net_inum, 136);
    assert_eq!(types.offsets.snd_una, 1004);
}

#[test]
fn says_which_field_is_missing_and_why() {
    let types = KernelTypes::parse(&small_kernel().bytes()).unwrap();
    assert!(!types.is_sufficient);
    assert_eq!(types.offsets.snd_nxt, ABSENT);
    assert_eq!(
        found(&types, "tcp_sock.snd_nxt").unwrap_err().to_string(),
        "`snd_nxt` of struct `tcp_sock` has 1 bytes, not 4"
    );
    assert_eq!(
        found(&types, "tcp_sock.snd_wnd").unwrap_err().to_string(),
        "struct `tcp_sock` has no `snd_wnd`"
    );
    assert_eq!(
        found(&types, "sock.sk_err").unwrap_err(),
        FieldError::NoStruct("sock")
    );
}

#[test]
fn a_bit_field_is_refused() {
    let mut btf = Writer::new();
    let byte = btf.int("unsigned char", 1);
    // With the kind flag a member's upper byte is its width in bits.
    btf.composite(
        STRUCT | 0x80,
        "sock_common",
        8,
        &[("skc_state", byte, 4 << 24 | 8)],
    );
    let types = KernelTypes::parse(&btf.bytes()).unwrap();
    assert!(matches!(
        found(&types, "sock_common.skc_state"),
        Err(FieldError::Placement { .. })
    ));
}

#[test]
fn a_typedef_of_itself_ends() {
    let mut btf = Writer::new();
    btf.header("loop", TYPEDEF, 0, 1);
    btf.composite(STRUCT, "net", 8, &[("ns", 1, 0)]);
    let types = KernelTypes::parse(&btf.bytes()).unwrap();
    assert_eq!(types.offsets.net_inum, ABSENT);
}

#[test]
fn arrays_have_sizes() {
    let mut btf = Writer::new();
    let word = btf.int("unsigned int", 4);
    let array = btf.header("", ARRAY, 0, 0);
    btf.words(&[word, word, 2]);
    btf.composite(STRUCT, "sock_common", 8, &[("skc_cookie", array, 0)]);
    let types = KernelTypes::parse(&btf.bytes()).unwrap();
    assert_eq!(types.offsets.cookie, 0);
}

#[test]
fn a_struct_of_itselves_ends() {
    let mut btf = Writer::new();
    let members = [("", 1, 0); 1000];
    btf.composite(STRUCT, "net", 8, &members);
    let types = KernelTypes::parse(&btf.bytes()).unwrap();
    assert_eq!(types.offsets.net_inum, ABSENT);
}

#[test]
fn an_unknown_kind_is_named() {
    let mut btf = Writer::new();
    btf.header("", 31, 0, 0);
    let error = KernelTypes::parse(&btf.bytes()).unwrap_err();
    assert!(matches!(error, BtfError::UnknownKind(31)), "{error}");
}

#[test]
fn malformed_sections_are_errors() {
    let good = small_kernel().bytes();
    for length in 0..good.len() {
        assert!(KernelTypes::parse(&good[..length]).is_err(), "{length}");
    }
    let mut magic = good.clone();
    magic[0] ^= 0xff;
    assert!(KernelTypes::parse(&magic).is_err());
    let mut long = good;
    long[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert!(KernelTypes::parse(&long).is_err());
}

#[test]
fn this_kernels_fields_are_found() {
    let path = Path::new(VMLINUX);
    if !path.exists() {
        eprintln!("skipped: {VMLINUX} is not there, this kernel has no BTF");
        return;
    }
    let types = KernelTypes::read(path).unwrap();
    let missing: Vec<String> = types.missing().map(ToString::to_string).collect();
    assert!(types.is_sufficient && missing.is_empty(), "{missing:?}");
    // `skc_state` has been the 19th byte since 3.x; no other offset is as old.
    assert_eq!(types.offsets.state, 18);
}
