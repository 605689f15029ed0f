//! TCP as the kernel does it, as far as the detector can see: both ends, pure, in segments.

mod receiver;
mod sender;

pub use self::{
    receiver::{Ack, Receiver, Response},
    sender::{Out, Phase, Sender},
};
