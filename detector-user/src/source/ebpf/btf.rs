//! Reads the offsets of socket fields, and which tracepoints exist, from the running kernel's BTF.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::Path,
};

use detector_ebpf::{ABSENT, SocketOffsets};
use thiserror::Error;

use self::{
    section::{Kind, MAX_BYTES, Member, Section, Type},
    wanted::{LOW_HALF, Need, WANTED, Wanted},
};
use super::tracepoints::TRACEPOINTS;

mod section;
mod wanted;

/// Where the kernel keeps the description of its own types (CONFIG_DEBUG_INFO_BTF).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// How deep structs may be nested, and how long a chain of typedefs may be. Real ones need 5.
const MAX_DEPTH: usize = 16;
/// The most members that are searched for one field. Real structs have a few hundred.
const MAX_MEMBERS: u32 = 100_000;

/// Why BTF cannot be used.
#[derive(Debug, Error)]
pub enum BtfError {
    #[error("cannot read {path}: {source}; the kernel needs CONFIG_DEBUG_INFO_BTF")]
    Unreadable { path: String, source: io::Error },
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
    #[error("BTF has a kind of type, {0}, that this version does not know")]
    UnknownKind(u32),
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
    #[error(
        "`{path}` of struct `{holder}` is placed as no offset can say: a bit field, or too far"
    )]
    Placement {
        holder: &'static str,
        path: &'static str,
    },
}

/// What was found in BTF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelTypes {
    /// Offsets of the fields found; the others are absent.
    pub offsets: SocketOffsets,
    /// Each field in `struct.path` form: its offset, or why it was not found.
    pub fields: Vec<(String, Result<u16, FieldError>)>,
    /// Whether every essential field was found.
    pub is_sufficient: bool,
    /// The tracepoints that this kernel has, by name, with the number of their arguments.
    pub tracepoints: BTreeMap<&'static str, usize>,
}

impl KernelTypes {
    /// Reads BTF from this file.
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let bytes = read(path).map_err(|source| BtfError::Unreadable {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(&bytes)
    }

    /// Finds the fields in a BTF section.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let btf = Section::parse(bytes)?;
        let structs = btf.named(Kind::Struct, WANTED.iter().map(|wanted| wanted.holder));
        let mut offsets = SocketOffsets::ABSENT;
        let mut is_sufficient = true;
        let fields = WANTED
            .iter()
            .map(|wanted| {
                let found = find(&btf, &structs, wanted);
                match found {
                    Ok(offset) => *(wanted.slot)(&mut offsets) = offset,
                    Err(_) => is_sufficient &= wanted.need == Need::Detail,
                }
                (format!("{}.{}", wanted.holder, wanted.path), found)
            })
            .collect();
        offsets.usec_ts_bit = find_bit(&btf, &structs, "tcp_sock", "tcp_usec_ts").unwrap_or(ABSENT);
        Ok(Self {
            offsets,
            fields,
            is_sufficient,
            tracepoints: tracepoints(&btf),
        })
    }

    /// The fields that were not found, for messages.
    pub fn missing(&self) -> impl Iterator<Item = &FieldError> {
        self.fields
            .iter()
            .filter_map(|(_, found)| found.as_ref().err())
    }
}

/// Reads the file into a block that the allocator gives back to the kernel at once.
///
/// glibc learns from the blocks that are freed: after a block of 6 MiB it takes blocks of that size
/// from its heap, and leaves twice as much free memory resident there. It learns nothing from blocks
/// above 32 MiB (`DEFAULT_MMAP_THRESHOLD_MAX` in malloc/malloc.c). Only the part of the block that
/// is written becomes resident.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(MAX_BYTES + 1);
    let most = MAX_BYTES as u64 + 1;
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where a member was found.
struct Place {
    bits: u64,
    size: Option<usize>,
    is_bitfield: bool,
}

/// The structs that have fields which are wanted. A name may have several.
type Structs<'n> = BTreeMap<&'n str, Vec<Type>>;

fn find(btf: &Section<'_>, structs: &Structs<'_>, wanted: &Wanted) -> Result<u16, FieldError> {
    let &Wanted {
        holder, path, size, ..
    } = wanted;
    let parts: Vec<&str> = path.split('.').collect();
    let structs = structs.get(holder).filter(|found| !found.is_empty());
    let structs = structs.ok_or(FieldError::NoStruct(holder))?;
    let mut budget = MAX_MEMBERS;
    let place = structs
        .iter()
        .find_map(|found| locate(btf, found, &parts, 0, 0, &mut budget))
        .ok_or(FieldError::NoField { holder, path })?;
    if place.is_bitfield != (size == LOW_HALF) || place.bits % 8 != 0 {
        return Err(FieldError::Placement { holder, path });
    }
    match place.size {
        _ if place.is_bitfield => {}
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

/// The tracepoints that the kernel has, with the number of their arguments: it declares
/// `btf_trace_NAME`, a pointer to a function whose first argument is its own
/// (`__DEFINE_EVENT` in include/trace/bpf_probe.h).
fn tracepoints(btf: &Section<'_>) -> BTreeMap<&'static str, usize> {
    let declared = TRACEPOINTS.map(|tracepoint| format!("btf_trace_{}", tracepoint.name));
    let found = btf.named(Kind::Alias, declared.iter().map(String::as_str));
    let counts = TRACEPOINTS
        .iter()
        .zip(&declared)
        .filter_map(|(tracepoint, declared)| {
            let pointer = found.get(declared.as_str())?.first()?;
            Some((tracepoint.name, arguments(btf, pointer)?))
        });
    counts.collect()
}

fn arguments(btf: &Section<'_>, pointer: &Type) -> Option<usize> {
    let pointer = peel(btf, pointer.size_or_type)?;
    let function = btf.get(pointer.size_or_type)?;
    match (pointer.kind, function.kind) {
        (Kind::Pointer, Kind::Prototype) => function.count.checked_sub(1),
        _ => None,
    }
}

/// The position, in bits, of a bit field that not every kernel has.
fn find_bit(btf: &Section<'_>, structs: &Structs<'_>, holder: &str, name: &str) -> Option<u16> {
    let mut budget = MAX_MEMBERS;
    let place = structs
        .get(holder)?
        .iter()
        .find_map(|found| locate(btf, found, &[name], 0, 0, &mut budget))?;
    u16::try_from(place.bits).ok().filter(|_| place.is_bitfield)
}

/// Finds `path` in a struct or union, looking through anonymous members.
fn locate(
    btf: &Section<'_>,
    holder: &Type,
    path: &[&str],
    base: u64,
    depth: usize,
    budget: &mut u32,
) -> Option<Place> {
    let (first, rest) = path.split_first()?;
    if depth > MAX_DEPTH {
        return None;
    }
    btf.members(holder).find_map(|member| {
        *budget = budget.checked_sub(1)?;
        let name = btf.name(member.name)?;
        let is_anonymous = name.is_empty();
        if !is_anonymous && name != first.as_bytes() {
            return None;
        }
        let bits = base + u64::from(member.bits);
        if !is_anonymous && rest.is_empty() {
            return Some(Place {
                bits,
                size: size_of_type(btf, member.of, 0),
                is_bitfield: member.is_bitfield,
            });
        }
        let inner = as_composite(btf, &member)?;
        let path = if is_anonymous { path } else { rest };
        locate(btf, &inner, path, bits, depth + 1, budget)
    })
}

/// The struct or union that is a member's type, looking through typedefs and qualifiers.
fn as_composite(btf: &Section<'_>, member: &Member) -> Option<Type> {
    peel(btf, member.of).filter(|found| matches!(found.kind, Kind::Struct | Kind::Union))
}

fn size_of_type(btf: &Section<'_>, id: u32, depth: usize) -> Option<usize> {
    if depth > MAX_DEPTH {
        return None;
    }
    let found = peel(btf, id)?;
    match found.kind {
        Kind::Int | Kind::Enum | Kind::Struct | Kind::Union => {
            usize::try_from(found.size_or_type).ok()
        }
        Kind::Pointer => Some(size_of::<u64>()),
        Kind::Array => {
            let (element, length) = btf.array(&found)?;
            size_of_type(btf, element, depth + 1)?.checked_mul(length as usize)
        }
        Kind::Alias | Kind::Prototype | Kind::Other => None,
    }
}

/// The type with this id, without typedefs and qualifiers.
fn peel(btf: &Section<'_>, id: u32) -> Option<Type> {
    let mut found = btf.get(id)?;
    for _ in 0..MAX_DEPTH {
        if !matches!(found.kind, Kind::Alias) {
            return Some(found);
        }
        found = btf.get(found.size_or_type)?;
    }
    None
}

/// Reads any bytes: see [`hostile`](crate::hostile).
pub fn any_types(bytes: &[u8]) {
    if let Ok(types) = KernelTypes::parse(bytes) {
        assert_eq!(types.fields.len(), WANTED.len());
        assert!(types.tracepoints.len() <= TRACEPOINTS.len());
    }
}

#[cfg(test)]
mod tests;
