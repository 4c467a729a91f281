//! For tests: frames as a pod with `NET_RAW` makes them, written from the RFCs' drawings.

use std::net::{IpAddr, Ipv4Addr};

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV6: u16 = 0x86dd;

pub(crate) fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, content: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), content].concat()
}

/// The frame of an IP packet.
pub(crate) fn packet(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    ethernet(to, from, if packet[0] >> 4 == 4 { IPV4 } else { IPV6 }, packet)
}

/// A datagram with the text in it, from a port and to one.
pub(crate) fn udp(source: IpAddr, destination: IpAddr, ports: (u16, u16), text: &str) -> Vec<u8> {
    let length = u16::try_from(8 + text.len()).unwrap();
    let header = [ports.0.to_be_bytes(), ports.1.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    ip(source, destination, 17, &with_checksum(source, destination, 17, [&header, text.as_bytes()].concat(), 6))
}

/// An ICMP or `ICMPv6` message without a body but the four bytes behind the checksum, and what is given.
pub(crate) fn icmp(source: IpAddr, destination: IpAddr, kind: u8, body: &[u8]) -> Vec<u8> {
    let message = [&[kind, 0, 0, 0, 0, 0, 0, 0], body].concat();
    if source.is_ipv4() {
        let sum = checksum(&message);
        let message = [&message[..2], &sum.to_be_bytes(), &message[4..]].concat();
        return ip(source, destination, 1, &message);
    }
    ip(source, destination, 58, &with_checksum(source, destination, 58, message, 2))
}

/// A neighbour advertisement that overrides what was known: the target is at this hardware address.
pub(crate) fn advertisement(source: IpAddr, destination: IpAddr, target: IpAddr, hardware: [u8; 6]) -> Vec<u8> {
    let message = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &octets(target), &[2, 1], &hardware].concat();
    ip(source, destination, 58, &with_checksum(source, destination, 58, message, 2))
}

/// An ARP request: who has `target`, tell `sender`.
pub(crate) fn arp_request(hardware: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    [&[0, 1, 8, 0, 6, 4, 0, 1][..], &hardware, &sender.octets(), &[0; 6], &target.octets()].concat()
}

pub(crate) fn ip(source: IpAddr, destination: IpAddr, protocol: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let ends = [octets(source), octets(destination)].concat();
    if source.is_ipv6() {
        return [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[protocol, 255], &ends, content].concat();
    }
    let header = [&[0x45, 0][..], &(20 + length).to_be_bytes(), &[0, 0, 0, 0, 64, protocol, 0, 0], &ends].concat();
    let sum = checksum(&header);
    [&header[..10], &sum.to_be_bytes(), &header[12..], content].concat()
}

/// Puts in the checksum over the pseudo header and the content.
fn with_checksum(source: IpAddr, destination: IpAddr, protocol: u8, mut content: Vec<u8>, at: usize) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    let pseudo = [&octets(source)[..], &octets(destination), &length.to_be_bytes(), &[0, 0, 0, protocol]].concat();
    let sum = checksum(&[&pseudo[..], &content].concat());
    content[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    content
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
