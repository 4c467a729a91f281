//! Ethernet frames with UDP datagrams of 32 bytes, written once and then changed only in the source port.

use std::net::IpAddr;

use crate::cluster::Flow;

/// The hardware address of both links of a router, which every frame goes to.
pub(crate) const ROUTER: [u8; 6] = [0x02, 0x50, 0, 0, 0, 1];
/// The hardware address of the far ends of the links.
pub(crate) const ENDS: [u8; 6] = [0x02, 0x50, 0, 0, 0, 2];

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const PAYLOAD: usize = 32;
const HOPS: u8 = 64;
/// Source ports from here on; no flow has one of them as its destination port.
const FIRST_SOURCE_PORT: u16 = 20_000;
const SOURCE_PORTS: u64 = 45_000;

/// Frames of the same flows again and again, each time with the next source port.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    frames: Vec<Frame>,
    next: u64,
    /// After how many frames all begins anew.
    period: u64,
}

#[derive(Clone, Debug)]
struct Frame {
    bytes: Vec<u8>,
    /// Where the UDP header is.
    udp: usize,
    /// Where the port is that changes: the source port, or in an answer the destination port.
    changing: usize,
    /// The sum for the checksum, without the port that changes.
    sum: u32,
}

impl Traffic {
    /// Every frame opens a flow, until all source ports were used; then all flows must be forgotten, or be long past.
    pub(crate) fn new_flows(flows: &[Flow]) -> Traffic {
        let frames: Vec<Frame> = flows.iter().map(|flow| Frame::new(flow, false)).collect();
        let period = frames.len() as u64 * SOURCE_PORTS;
        Traffic { frames, next: 0, period }
    }

    /// This many flows, again and again.
    pub(crate) fn same_flows(flows: &[Flow], period: u64) -> Traffic {
        Traffic { period, ..Traffic::new_flows(flows) }
    }

    /// What answers [`Traffic::same_flows`].
    pub(crate) fn answers(flows: &[Flow], period: u64) -> Traffic {
        let frames = flows.iter().map(|flow| Frame::new(flow, true)).collect();
        Traffic { frames, next: 0, period }
    }

    /// The next frame.
    pub(crate) fn advance(&mut self) -> &[u8] {
        let count = self.frames.len() as u64;
        let (lap, index) = (self.next / count, self.next % count);
        self.next = (self.next + 1) % self.period;
        let port = FIRST_SOURCE_PORT + u16::try_from(lap % SOURCE_PORTS).unwrap_or(0);
        // Both indices are below the number of frames, and that came from a `usize`.
        let frame = &mut self.frames[usize::try_from(index).unwrap_or(0)];
        frame.set_port(port);
        &frame.bytes
    }
}

impl Frame {
    fn new(flow: &Flow, answer: bool) -> Frame {
        let (source, destination) =
            if answer { (flow.destination, flow.source) } else { (flow.source, flow.destination) };
        let mut bytes = [ROUTER, ENDS].concat();
        let length = u16::try_from(UDP_HEADER + PAYLOAD).unwrap_or(0);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend([0x08, 0x00]);
                let [high, low] = (20 + length).to_be_bytes();
                let mut header = vec![0x45, 0, high, low, 0, 0, 0, 0, HOPS, UDP, 0, 0];
                header.extend(source.octets());
                header.extend(destination.octets());
                let checksum = !fold(sum(&header));
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                bytes.extend(header);
            }
            (source, destination) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend(length.to_be_bytes());
                bytes.extend([UDP, HOPS]);
                for address in [source, destination] {
                    if let IpAddr::V6(address) = address {
                        bytes.extend(address.octets());
                    }
                }
            }
        }
        let udp = bytes.len();
        let addresses = udp - if source.is_ipv4() { 8 } else { 32 };
        let ports = if answer { [flow.port, 0] } else { [0, flow.port] };
        for number in [ports[0], ports[1], length, 0] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend([0; PAYLOAD]);
        // The pseudo-header of RFC 768 and RFC 8200, section 8.1: addresses, protocol, length.
        let sum = sum(&bytes[addresses..]) + u32::from(UDP) + u32::from(length);
        Frame { bytes, udp, changing: udp + if answer { 2 } else { 0 }, sum }
    }

    fn set_port(&mut self, port: u16) {
        self.bytes[self.changing..self.changing + 2].copy_from_slice(&port.to_be_bytes());
        let checksum = match !fold(self.sum + u32::from(port)) {
            // Zero would say that there is no checksum.
            0 => u16::MAX,
            checksum => checksum,
        };
        self.bytes[self.udp + 6..self.udp + 8].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    u16::try_from((once & 0xffff) + (once >> 16)).unwrap_or(u16::MAX)
}
