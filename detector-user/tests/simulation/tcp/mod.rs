//! The kernel's TCP, as far as the detector can see it: both ends, pure, in segments.

mod receiver;
mod sender;

pub use self::{
    receiver::{Ack, Receiver, Response},
    sender::{Out, Phase, Sender},
};
