//! The headers of an IP packet, as far as they are there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

// The extension headers that the kernel looks behind (`ipv6_ext_hdr`).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

const IPV4_BYTES_MIN: usize = 20;
const IPV6_BYTES: usize = 40;

/// What the headers of an IP packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The sender.
    pub source: IpAddr,
    /// The receiver.
    pub destination: IpAddr,
    /// The IANA protocol number of what the packet carries; behind the extension headers of IPv6, as far as they were
    /// copied and the kernel knows them.
    pub protocol: u8,
    /// The sender's port, if the protocol has ports and this is no later fragment.
    pub source_port: Option<u16>,
    /// The receiver's port, likewise.
    pub destination_port: Option<u16>,
    /// Type and code of an ICMP or `ICMPv6` message.
    pub icmp: Option<(u8, u8)>,
    /// The length of the packet in bytes, as its header states it; at most 65,575.
    pub bytes: u32,
}

impl Headers {
    /// Reads the beginning of a packet; `None` if that is not an IP header with both addresses.
    pub(super) fn read(packet: &[u8]) -> Option<Headers> {
        match packet.first()? >> 4 {
            4 => ipv4(packet),
            6 => ipv6(packet),
            _ => None,
        }
    }

    /// Without anything behind the network header.
    fn new(source: IpAddr, destination: IpAddr, protocol: u8, bytes: u32) -> Headers {
        Headers { source, destination, protocol, source_port: None, destination_port: None, icmp: None, bytes }
    }

    /// With what the transport header says, if there is any of it.
    fn with_transport(mut self, header: Option<&[u8]>) -> Headers {
        let Some(header) = header else { return self };
        match self.protocol {
            TCP | UDP | DCCP | SCTP | UDP_LITE => {
                self.source_port = short(header, 0);
                self.destination_port = short(header, 2);
            }
            ICMP if self.source.is_ipv4() => self.icmp = pair(header),
            ICMPV6 if self.source.is_ipv6() => self.icmp = pair(header),
            _ => {}
        }
        self
    }
}

/// RFC 791, section 3.1.
fn ipv4(packet: &[u8]) -> Option<Headers> {
    let header = packet.first_chunk::<IPV4_BYTES_MIN>()?;
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    if header_bytes < IPV4_BYTES_MIN {
        return None;
    }
    let address = |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
    let bytes = u32::from(u16::from_be_bytes([header[2], header[3]]));
    let later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    let headers = Headers::new(address(12), address(16), header[9], bytes);
    Some(headers.with_transport(packet.get(header_bytes..).filter(|_| !later_fragment)))
}

/// RFC 8200, sections 3 and 4.
fn ipv6(packet: &[u8]) -> Option<Headers> {
    let header = packet.first_chunk::<IPV6_BYTES>()?;
    let address = |at: usize| header[at..].first_chunk::<16>().map(|bytes| IpAddr::V6(Ipv6Addr::from(*bytes)));
    let bytes = u32::from(u16::from_be_bytes([header[4], header[5]])) + 40;
    let mut headers = Headers::new(address(8)?, address(24)?, header[6], bytes);
    let mut rest = &packet[IPV6_BYTES..];
    // Each turn takes eight bytes at least, so that the packet ends before patience does.
    loop {
        let units = match headers.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => rest.get(1).map(|length| (usize::from(*length) + 1) * 8),
            FRAGMENT => rest.get(..8).map(<[u8]>::len),
            // RFC 4302, section 2.2: in units of four bytes, less two.
            AUTHENTICATION => rest.get(1).map(|length| (usize::from(*length) + 2) * 4),
            _ => return Some(headers.with_transport(Some(rest))),
        };
        let Some((extension, behind)) = units.and_then(|bytes| rest.split_at_checked(bytes)) else {
            return Some(headers);
        };
        let later_fragment = headers.protocol == FRAGMENT && short(extension, 2).is_some_and(|field| field >> 3 != 0);
        headers.protocol = extension[0];
        if later_fragment {
            return Some(headers);
        }
        rest = behind;
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn pair(bytes: &[u8]) -> Option<(u8, u8)> {
    Some((*bytes.first()?, *bytes.get(1)?))
}

#[cfg(test)]
mod tests;
