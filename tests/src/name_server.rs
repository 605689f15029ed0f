//! A name server as Docker has one in each container's network.

use std::{
    net::{Ipv4Addr, UdpSocket},
    thread,
};

use crate::Host;

/// Answers on this host, with one address for all names.
pub fn start(host: &Host, address: Ipv4Addr) -> anyhow::Result<thread::JoinHandle<()>> {
    let socket = host.within(|| UdpSocket::bind("127.0.0.11:53"))??;
    // Longer than the test: it ends with its process.
    Ok(thread::spawn(move || {
        let mut request = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut request) {
            let answer = answer(&request[..length], address);
            // A request that cannot be answered is asked again.
            let _ = socket.send_to(&answer, from);
        }
    }))
}

/// The answer to a request for one name (RFC 1035, 4.1).
fn answer(request: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let name = request[12..]
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(0);
    let question = &request[12..12 + name + 5];
    let is_ipv4 = question[name + 1..] == [0, 1, 0, 1];
    let mut answer = request[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, is_ipv4.into(), 0, 0, 0, 0]);
    answer.extend(question);
    if is_ipv4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
