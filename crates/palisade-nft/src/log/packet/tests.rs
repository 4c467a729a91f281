use proptest::prelude::*;

use super::*;

/// What a packet is made of. It is written from the RFCs' drawings, not from the reader.
#[derive(Clone, Debug)]
struct Made {
    source: IpAddr,
    destination: IpAddr,
    options: Vec<(u8, Vec<u8>)>,
    fragment: Option<u16>,
    protocol: u8,
    transport: Vec<u8>,
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.bytes4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.bytes6(source, destination),
            _ => unreachable!("both ends are of one family"),
        }
    }

    /// The options of IPv4 are the lengths of its extension headers, for simplicity: up to ten words of no-operation.
    fn bytes4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let words = u8::try_from(self.options.len()).unwrap();
        let length = 20 + 4 * u16::from(words) + u16::try_from(self.transport.len()).unwrap();
        let mut bytes = vec![0x45 + words, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(self.fragment.unwrap_or(0).to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(std::iter::repeat_n(1, 4 * usize::from(words)));
        bytes.extend(&self.transport);
        bytes
    }

    fn bytes6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let mut kinds: Vec<u8> = self.options.iter().map(|(kind, _)| *kind).collect();
        kinds.extend(self.fragment.map(|_| 44));
        kinds.push(self.protocol);
        let mut behind = Vec::new();
        for (index, (kind, content)) in self.options.iter().enumerate() {
            // Type-length-value headers count units of eight bytes beyond the first, authentication counts
            // words less two.
            let length = if *kind == 51 { (content.len() + 2) / 4 - 2 } else { (content.len() + 2) / 8 - 1 };
            behind.extend([kinds[index + 1], u8::try_from(length).unwrap()]);
            behind.extend(content);
        }
        if let Some(fragment) = self.fragment {
            behind.extend([self.protocol, 0]);
            behind.extend((fragment << 3 | 1).to_be_bytes());
            behind.extend([0, 0, 0, 9]);
        }
        behind.extend(&self.transport);
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(u16::try_from(behind.len()).unwrap().to_be_bytes());
        bytes.extend([kinds[0], 64]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(behind);
        bytes
    }

    fn expected(&self) -> Headers {
        let whole = self.fragment.is_none_or(|fragment| fragment == 0);
        let at = |index: usize| self.transport.get(index).copied().filter(|_| whole);
        let short = |index| Some(u16::from_be_bytes([at(index)?, at(index + 1)?]));
        let ports = [6, 17, 33, 132, 136].contains(&self.protocol);
        let icmp = if self.source.is_ipv4() { 1 } else { 58 };
        Headers {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            source_port: if ports { short(0) } else { None },
            destination_port: if ports { short(2) } else { None },
            icmp: if self.protocol == icmp { at(0).zip(at(1)) } else { None },
            bytes: u32::try_from(self.bytes().len()).unwrap(),
        }
    }
}

fn made() -> impl Strategy<Value = Made> {
    let ends = prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(one, other)| (IpAddr::V4(one), IpAddr::V4(other))),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(one, other)| (IpAddr::V6(one), IpAddr::V6(other))),
    ];
    let option = prop_oneof![
        (prop::sample::select(&[0u8, 43, 60]), 0..4usize).prop_map(|(kind, units)| (kind, vec![7; units * 8 + 6])),
        (2..9usize).prop_map(|words| (51, vec![7; words * 4 - 2])),
    ];
    let protocol = prop_oneof![prop::sample::select(&[1u8, 6, 17, 33, 47, 58, 59, 132, 135, 136])];
    let fragment = prop::option::of(prop::sample::select(&[0u16, 1, 8, 0x1fff]));
    (ends, prop::collection::vec(option, 0..6), fragment, protocol, prop::collection::vec(any::<u8>(), 0..24)).prop_map(
        |((source, destination), options, fragment, protocol, transport)| Made {
            source,
            destination,
            options,
            fragment,
            protocol,
            transport,
        },
    )
}

proptest! {
    #[test]
    fn whole_packets_are_read(made in made()) {
        prop_assert_eq!(Headers::read(&made.bytes()), Some(made.expected()));
    }

    /// What is cut off is not made up: whatever is read of a part holds of the whole.
    #[test]
    fn parts_of_packets_are_read_as_far_as_they_go(made in made(), end in any::<prop::sample::Index>()) {
        let bytes = made.bytes();
        let end = end.index(bytes.len());
        let expected = made.expected();
        let Some(read) = Headers::read(&bytes[..end]) else {
            let header_bytes = if made.source.is_ipv4() { 20 } else { 40 };
            prop_assert!(end < header_bytes);
            return Ok(());
        };
        prop_assert_eq!((read.source, read.destination, read.bytes), (expected.source, expected.destination, expected.bytes));
        let behind = [0, 43, 44, 51, 60].contains(&read.protocol) && made.source.is_ipv6();
        prop_assert!(behind || read.protocol == expected.protocol);
        prop_assert!(read.source_port.is_none_or(|port| Some(port) == expected.source_port));
        prop_assert!(read.destination_port.is_none_or(|port| Some(port) == expected.destination_port));
        prop_assert!(read.icmp.is_none_or(|icmp| Some(icmp) == expected.icmp));
    }

    #[test]
    fn any_bytes_are_taken(mut bytes in prop::collection::vec(any::<u8>(), 0..400), version in prop::sample::select(&[0u8, 4, 6])) {
        if let Some(first) = bytes.first_mut() && version != 0 {
            *first = version << 4 | *first & 0x0f;
        }
        let _ = Headers::read(&bytes);
    }

    /// Chains of extension headers, each as short as can be, up to the most that a packet holds.
    #[test]
    fn long_chains_end(kind in prop::sample::select(&[0u8, 43, 44, 51, 60]), units in 0..8192usize) {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, kind, 64];
        bytes.resize(40, 0);
        for _ in 0..units {
            bytes.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
        }
        prop_assert_eq!(Headers::read(&bytes).map(|headers| headers.protocol), Some(kind));
    }
}
