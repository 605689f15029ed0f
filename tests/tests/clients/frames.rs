//! HTTP/2 frames written by hand, for clients that no library lets misbehave.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client waits for the daemon to take or to say more.
const WAITS: Duration = Duration::from_secs(3);

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GO_AWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame as it was received.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection on which anything can be sent.
#[derive(Debug)]
pub struct Frames(UnixStream);

impl Frames {
    /// Connects, and sends what begins each connection.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(WAITS))?;
        stream.set_write_timeout(Some(WAITS))?;
        let mut frames = Self(stream);
        frames.0.write_all(PREFACE)?;
        frames.send(SETTINGS, 0, 0, &[])?;
        Ok(frames)
    }

    /// The same connection, for a thread that reads.
    pub fn reader(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame)
    }

    /// The headers of a call of this method of the daemon's service.
    pub fn call(&mut self, stream: u32, method: &str) -> io::Result<()> {
        self.send(HEADERS, END_HEADERS, stream, &headers(method))
    }

    /// A call with an empty message.
    pub fn whole_call(&mut self, stream: u32, method: &str) -> io::Result<()> {
        self.call(stream, method)?;
        self.send(DATA, END_STREAM, stream, &[0; 5])
    }

    /// The next frame; an error once nothing has come for a while, or the daemon has hung up.
    pub fn next(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload)?;
        Ok(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    /// The daemon's last words, once it has hung up.
    pub fn farewell(&mut self) -> Option<String> {
        while let Ok(frame) = self.next() {
            if frame.kind == GO_AWAY {
                let reason = frame.payload.get(8..)?;
                return Some(String::from_utf8_lossy(reason).into_owned());
            }
        }
        None
    }
}

/// By HPACK (RFC 7541): numbers are those of its static table, and nothing is compressed.
fn headers(method: &str) -> Vec<u8> {
    let path = format!("/detector.v1.Detector/{method}");
    // POST, http.
    let mut block = vec![0x83, 0x86];
    text(&mut block, &[0x04], &path);
    text(&mut block, &[0x01], "localhost");
    text(&mut block, &[0x0f, 0x10], "application/grpc");
    text(&mut block, b"\x00\x02te", "trailers");
    block
}

/// A field with a value shorter than 127 bytes.
pub fn text(block: &mut Vec<u8>, name: &[u8], value: &str) {
    block.extend(name);
    block.extend(u8::try_from(value.len()));
    block.extend(value.as_bytes());
}
