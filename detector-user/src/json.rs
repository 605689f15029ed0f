//! What `--output json` prints: the messages of `detector.v1`, fields named as there, values
//! of enums in lower snake case. Times are RFC 3339 in UTC and durations seconds, as in
//! `"0.253s"`: bytes are base64: all as protobuf's own JSON writes them.
//! An absent value is null.
//!
//! The fields come from the protocol's descriptors. Protobuf's own JSON would write an enum as
//! `"VERDICT_DEAD"`, a counter as a string, and leave out what is absent or zero.

use std::{borrow::Cow, sync::LazyLock};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use detector_api::v1::{self, ListPeersResponse, PeerState, watch_peers_response::Removed};
use prost::Name;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, ReflectMessage as _,
    Value,
};
use serde::{Serialize, Serializer, ser::Error as _};

use crate::text::moment;

#[cfg(test)]
mod tests;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(v1::FILE_DESCRIPTOR_SET).expect("the build wrote these descriptors")
});

/// One object on a line.
pub fn line(value: &impl Serialize) -> String {
    match serde_json::to_string(value) {
        Ok(json) => json + "\n",
        // None of these types can fail: no maps with odd keys, no failing serializers.
        Err(error) => format!("{{\"error\":{:?}}}\n", error.to_string()),
    }
}

/// A message as one object on a line.
pub fn message(message: &impl Name) -> String {
    line(&Object::of(message))
}

/// One object a line.
pub fn messages<M: Name>(messages: &[M]) -> String {
    messages.iter().map(message).collect()
}

/// The peers, each with the texts of the sources that name it.
pub fn peers(listed: &ListPeersResponse) -> String {
    #[derive(Serialize)]
    struct Peer<'a> {
        #[serde(flatten)]
        state: Object,
        sources: Vec<&'a str>,
    }
    let peer = |state: &PeerState| {
        let sources = listed.sources.iter();
        let of_peer = sources.filter(|source| source.peers.contains(&state.peer));
        line(&Peer {
            state: Object::of(state),
            sources: of_peer.map(|source| source.text.as_str()).collect(),
        })
    };
    listed.peers.iter().map(peer).collect()
}

/// A peer that is no longer watched, told apart from the others by `removed`.
pub fn removed(removed: &Removed) -> String {
    #[derive(Serialize)]
    struct Marked {
        #[serde(flatten)]
        message: Object,
        removed: bool,
    }
    line(&Marked {
        message: Object::of(removed),
        removed: true,
    })
}

/// A message with each of its fields, set or not.
#[derive(Clone, Debug)]
pub struct Object(DynamicMessage);

impl Object {
    /// The message as it is printed.
    pub fn of<M: Name>(message: &M) -> Self {
        let descriptor = POOL.get_message_by_name(&M::full_name());
        let mut object =
            DynamicMessage::new(descriptor.expect("it is made from these descriptors"));
        // A message that was made from a descriptor is read by it.
        let _ = object.transcode_from(message);
        Self(object)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields(&self.0, serializer)
    }
}

fn fields<S: Serializer>(message: &DynamicMessage, serializer: S) -> Result<S::Ok, S::Error> {
    let descriptor = message.descriptor();
    let field = |field: FieldDescriptor| (field.name().to_owned(), Field::of(message, &field));
    serializer.collect_map(descriptor.fields().map(field))
}

/// A field's value, or one of its values; absent where it is not set.
struct Field<'a> {
    kind: Kind,
    value: Option<Cow<'a, Value>>,
}

impl<'a> Field<'a> {
    fn of(message: &'a DynamicMessage, field: &FieldDescriptor) -> Self {
        let absent = field.supports_presence() && !message.has_field(field);
        Self {
            kind: field.kind(),
            value: (!absent).then(|| message.get_field(field)),
        }
    }

    fn one<'v>(&self, value: &'v Value) -> Field<'v> {
        Field {
            kind: self.kind.clone(),
            value: Some(Cow::Borrowed(value)),
        }
    }
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(value) = self.value.as_deref() else {
            return serializer.serialize_none();
        };
        match (value, &self.kind) {
            (Value::Bool(value), _) => serializer.serialize_bool(*value),
            (Value::U32(value), _) => serializer.serialize_u32(*value),
            (Value::U64(value), _) => serializer.serialize_u64(*value),
            (Value::F64(value), _) => serializer.serialize_f64(*value),
            (Value::String(value), _) => serializer.serialize_str(value),
            (Value::Bytes(value), _) => serializer.serialize_str(&BASE64_STANDARD.encode(value)),
            (Value::EnumNumber(number), Kind::Enum(kind)) => {
                serializer.serialize_str(&word(kind, *number))
            }
            (Value::List(values), _) => serializer.collect_seq(values.iter().map(|v| self.one(v))),
            (Value::Message(message), _) => well_known(message, serializer),
            // A test looks for such a field in every message.
            (_, kind) => Err(S::Error::custom(format!("no JSON is written for {kind:?}"))),
        }
    }
}

/// Times and durations are text.
fn well_known<S: Serializer>(message: &DynamicMessage, serializer: S) -> Result<S::Ok, S::Error> {
    match message.descriptor().full_name() {
        "google.protobuf.Duration" => match message.transcode_to::<prost_types::Duration>() {
            Ok(duration) => serializer.collect_str(&duration),
            Err(_) => serializer.serialize_none(),
        },
        "google.protobuf.Timestamp" => match moment(message.transcode_to().ok()) {
            Some(at) => serializer.collect_str(&at),
            None => serializer.serialize_none(),
        },
        _ => fields(message, serializer),
    }
}

/// The name of an enum's value without its prefix, which is that of `…_UNSPECIFIED`, in lower
/// case. A value of a newer daemon is unspecified.
fn word(kind: &EnumDescriptor, number: i32) -> String {
    let unspecified = kind.default_value();
    let prefix = unspecified.name().trim_end_matches("UNSPECIFIED");
    let value = kind.get_value(number).unwrap_or(unspecified.clone());
    let name = value.name();
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_ascii_lowercase()
}
