//! Offsets of the socket's fields, from the running kernel's BTF.

use std::{fs, io, path::Path};

use btf_rs::{Btf, BtfType, Member, Struct, Type};
use detector_ebpf::{ABSENT, SocketOffsets};
use thiserror::Error;

/// Where the kernel keeps the description of its own types (CONFIG_DEBUG_INFO_BTF).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// `BTF_MAGIC` in include/uapi/linux/btf.h.
const MAGIC: u16 = 0xeb9f;
/// Length of the header's fields up to `str_len`.
const HEADER_BYTES: usize = 24;
/// The most that is read; a distribution's kernel has about 6 MiB.
const MAX_BYTES: usize = 64 << 20;
/// How deep structs may be nested, and how long a chain of typedefs may be. Real ones need 5.
const MAX_DEPTH: usize = 16;

/// Why BTF cannot be used.
#[derive(Debug, Error)]
pub enum BtfError {
    #[error("cannot read {path}: {source}; the kernel needs CONFIG_DEBUG_INFO_BTF")]
    Unreadable { path: String, source: io::Error },
    #[error("malformed BTF: {0}")]
    Malformed(String),
}

/// Why one field's offset is unknown.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FieldError {
    #[error("no struct `{0}`")]
    NoStruct(&'static str),
    #[error("struct `{holder}` has no `{path}`")]
    NoField {
        holder: &'static str,
        path: &'static str,
    },
    #[error("`{path}` of struct `{holder}` has {found} bytes, not {expected}")]
    Size {
        holder: &'static str,
        path: &'static str,
        found: usize,
        expected: usize,
    },
    #[error("`{path}` of struct `{holder}` is a bit field or lies beyond what an offset can say")]
    Placement {
        holder: &'static str,
        path: &'static str,
    },
}

/// A field that records need.
struct Wanted {
    holder: &'static str,
    path: &'static str,
    size: usize,
    need: Need,
    slot: fn(&mut SocketOffsets) -> &mut u16,
}

/// What becomes of a record without the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It cannot be told what happened, or to which flow: nothing of the socket is used.
    Essential,
    /// It says less: the field is 0.
    Detail,
}

macro_rules! wanted {
    ($($need:ident $slot:ident: $holder:literal . $path:literal, $size:literal;)+) => {
        &[$(Wanted {
            holder: $holder,
            path: $path,
            size: $size,
            need: Need::$need,
            slot: |offsets| &mut offsets.$slot,
        },)+]
    };
}

const WANTED: &[Wanted] = wanted! {
    Essential state: "sock_common"."skc_state", 1;
    Essential cookie: "sock_common"."skc_cookie", 8;
    Essential net: "sock_common"."skc_net.net", 8;
    Essential net_inum: "net"."ns.inum", 4;
    Essential err: "sock"."sk_err", 4;
    Essential pending: "inet_connection_sock"."icsk_pending", 1;
    Essential retransmits: "inet_connection_sock"."icsk_retransmits", 1;
    Detail backoff: "inet_connection_sock"."icsk_backoff", 1;
    Detail probes_out: "inet_connection_sock"."icsk_probes_out", 1;
    Detail rto: "inet_connection_sock"."icsk_rto", 4;
    Detail lrcvtime: "inet_connection_sock"."icsk_ack.lrcvtime", 4;
    Essential rcv_tstamp: "tcp_sock"."rcv_tstamp", 4;
    Essential snd_una: "tcp_sock"."snd_una", 4;
    Essential snd_nxt: "tcp_sock"."snd_nxt", 4;
    Essential snd_wnd: "tcp_sock"."snd_wnd", 4;
    Essential packets_out: "tcp_sock"."packets_out", 4;
    Detail srtt: "tcp_sock"."srtt_us", 4;
};

/// What BTF told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketLayout {
    /// Offsets of the fields found; the others are absent.
    pub offsets: SocketOffsets,
    /// Each field in `struct.path` form: its offset, or why it was not found.
    pub fields: Vec<(String, Result<u16, FieldError>)>,
    /// Whether every essential field was found.
    pub is_sufficient: bool,
}

impl SocketLayout {
    /// Reads the running kernel's.
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let bytes = fs::read(path).map_err(|source| BtfError::Unreadable {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(&bytes)
    }

    /// Finds the fields in a BTF section.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        check_header(bytes)?;
        let btf = Btf::from_bytes(bytes).map_err(|error| BtfError::Malformed(error.to_string()))?;
        let mut offsets = SocketOffsets::ABSENT;
        let mut is_sufficient = true;
        let fields = WANTED
            .iter()
            .map(|wanted| {
                let found = find(&btf, wanted);
                match found {
                    Ok(offset) => *(wanted.slot)(&mut offsets) = offset,
                    Err(_) => is_sufficient &= wanted.need == Need::Detail,
                }
                (format!("{}.{}", wanted.holder, wanted.path), found)
            })
            .collect();
        Ok(Self {
            offsets,
            fields,
            is_sufficient,
        })
    }

    /// The fields that were not found, for messages.
    pub fn missing(&self) -> impl Iterator<Item = &FieldError> {
        self.fields
            .iter()
            .filter_map(|(_, found)| found.as_ref().err())
    }
}

/// Refuses sections whose header points outside of them, which the parser takes on trust.
fn check_header(bytes: &[u8]) -> Result<(), BtfError> {
    let malformed = |what: &str| Err(BtfError::Malformed(what.to_owned()));
    if bytes.len() > MAX_BYTES {
        return malformed("larger than any kernel's");
    }
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return malformed("shorter than its header");
    };
    if u16::from_ne_bytes([header[0], header[1]]) != MAGIC {
        return malformed("wrong magic or byte order");
    }
    let word = |at: usize| {
        let word = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        u64::from(u32::from_ne_bytes(word))
    };
    let (header_len, len) = (word(4), bytes.len() as u64);
    for at in [8, 16] {
        let (offset, length) = (word(at), word(at + 4));
        if header_len + offset + length > len {
            return malformed("a section lies beyond the end");
        }
    }
    Ok(())
}

/// Where a member was found.
struct Place {
    bits: u64,
    size: Option<usize>,
    is_bitfield: bool,
}

fn find(btf: &Btf, wanted: &Wanted) -> Result<u16, FieldError> {
    let &Wanted {
        holder, path, size, ..
    } = wanted;
    let parts: Vec<&str> = path.split('.').collect();
    let mut structs = btf
        .resolve_types_by_name(holder)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|found| match found {
            Type::Struct(found) => Some(found),
            _ => None,
        })
        .peekable();
    if structs.peek().is_none() {
        return Err(FieldError::NoStruct(holder));
    }
    let place = structs
        .find_map(|found| locate(btf, &found, &parts, 0, 0))
        .ok_or(FieldError::NoField { holder, path })?;
    if place.is_bitfield || place.bits % 8 != 0 {
        return Err(FieldError::Placement { holder, path });
    }
    match place.size {
        Some(found) if found == size => {}
        found => {
            return Err(FieldError::Size {
                holder,
                path,
                found: found.unwrap_or(0),
                expected: size,
            });
        }
    }
    match u16::try_from(place.bits / 8) {
        Ok(offset) if offset != ABSENT => Ok(offset),
        _ => Err(FieldError::Placement { holder, path }),
    }
}

/// Finds `path` in a struct or union, looking through anonymous members.
fn locate(btf: &Btf, holder: &Struct, path: &[&str], base: u64, depth: usize) -> Option<Place> {
    let (first, rest) = path.split_first()?;
    if depth > MAX_DEPTH {
        return None;
    }
    holder.members.iter().find_map(|member| {
        let name = btf.resolve_name(member).ok()?;
        let bits = base + u64::from(member.bit_offset());
        if name == *first && rest.is_empty() {
            return Some(Place {
                bits,
                size: size_of_type(btf, member, 0),
                is_bitfield: member.bitfield_size().is_some_and(|size| size != 0),
            });
        }
        if name != *first && !name.is_empty() {
            return None;
        }
        let inner = as_struct(btf, member)?;
        let path = if name.is_empty() { path } else { rest };
        locate(btf, &inner, path, bits, depth + 1)
    })
}

/// The struct or union that a member is, through typedefs and qualifiers.
fn as_struct(btf: &Btf, member: &Member) -> Option<Struct> {
    match peel(btf, member)? {
        Type::Struct(found) | Type::Union(found) => Some(found),
        _ => None,
    }
}

fn size_of_type(btf: &Btf, of: &dyn BtfType, depth: usize) -> Option<usize> {
    if depth > MAX_DEPTH {
        return None;
    }
    match peel(btf, of)? {
        Type::Int(found) => Some(found.size()),
        Type::Enum(found) => Some(found.size()),
        Type::Ptr(_) => Some(size_of::<u64>()),
        Type::Struct(found) | Type::Union(found) => Some(found.size()),
        Type::Array(found) => size_of_type(btf, &found, depth + 1)?.checked_mul(found.len()),
        _ => None,
    }
}

/// The type that something has, without typedefs and qualifiers.
fn peel(btf: &Btf, of: &dyn BtfType) -> Option<Type> {
    let mut found = btf.resolve_chained_type(of).ok()?;
    for _ in 0..MAX_DEPTH {
        let next: &dyn BtfType = match &found {
            Type::Typedef(inner) => inner,
            Type::Volatile(inner) => inner,
            Type::Const(inner) => inner,
            Type::Restrict(inner) => inner,
            Type::TypeTag(inner) => inner,
            _ => return Some(found),
        };
        found = btf.resolve_chained_type(next).ok()?;
    }
    None
}

#[cfg(test)]
mod tests;
