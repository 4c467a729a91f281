//! As much SCTP as a probe needs: an INIT and what answers it (RFC 9260). Many kernels have no SCTP sockets, so
//! both sides are raw sockets.

/// The length of the common header (RFC 9260 section 3.1).
const HEADER: usize = 12;
/// The length of an INIT or INIT ACK chunk without parameters (section 3.3.2).
const INIT_LENGTH: u16 = 20;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
/// The State Cookie parameter of an INIT ACK (section 3.3.3.1).
const STATE_COOKIE: u16 = 7;

/// A packet with its first chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    /// The verification tag: in an answer to an INIT the tag which that INIT announced.
    pub(crate) verification_tag: u32,
    pub(crate) chunk: Chunk<'a>,
}

/// The chunks that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk<'a> {
    /// Wants an association; every answer must carry this tag.
    Init { tag: u32 },
    /// Agrees; the cookie is the server's to choose.
    InitAck { cookie: &'a [u8] },
    /// Refuses.
    Abort,
}

/// A packet that asks for an association.
pub(crate) fn init(source_port: u16, destination_port: u16, tag: u32) -> Vec<u8> {
    packet(source_port, destination_port, 0, INIT, tag, &[])
}

/// The packet that agrees to an INIT and carries a cookie of at most a few hundred bytes.
pub(crate) fn init_ack(asked: &Segment<'_>, tag: u32, cookie: &[u8]) -> Vec<u8> {
    let mut parameter = STATE_COOKIE.to_be_bytes().to_vec();
    let length = u16::try_from(4 + cookie.len()).unwrap_or(u16::MAX);
    parameter.extend(length.to_be_bytes());
    parameter.extend(cookie);
    packet(asked.destination_port, asked.source_port, tag, INIT_ACK, tag, &parameter)
}

/// Reads a packet; `None` if it is none of those above. The checksum is the receiving kernel's business.
pub(crate) fn parse(bytes: &[u8]) -> Option<Segment<'_>> {
    let chunk = match *bytes.get(HEADER)? {
        INIT => Chunk::Init { tag: u32_at(bytes, HEADER + 4)? },
        INIT_ACK => Chunk::InitAck { cookie: cookie(bytes.get(HEADER + usize::from(INIT_LENGTH)..)?)? },
        ABORT => Chunk::Abort,
        _ => return None,
    };
    Some(Segment {
        source_port: u16_at(bytes, 0)?,
        destination_port: u16_at(bytes, 2)?,
        verification_tag: u32_at(bytes, 4)?,
        chunk,
    })
}

fn packet(
    source_port: u16,
    destination_port: u16,
    verification_tag: u32,
    chunk: u8,
    tag: u32,
    parameters: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + usize::from(INIT_LENGTH) + parameters.len() + 3);
    bytes.extend(source_port.to_be_bytes());
    bytes.extend(destination_port.to_be_bytes());
    bytes.extend(verification_tag.to_be_bytes());
    bytes.extend([0; 4]);
    let length = INIT_LENGTH.saturating_add(u16::try_from(parameters.len()).unwrap_or(u16::MAX));
    bytes.extend([chunk, 0]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(tag.to_be_bytes());
    bytes.extend(65_536_u32.to_be_bytes()); // receiver window
    bytes.extend(1_u16.to_be_bytes()); // outbound streams
    bytes.extend(1_u16.to_be_bytes()); // inbound streams
    bytes.extend(tag.to_be_bytes()); // initial TSN
    bytes.extend(parameters);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let checksum = crc32c(&bytes);
    bytes[8..HEADER].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn cookie(parameters: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16_at(parameters, 2)?);
    (u16_at(parameters, 0)? == STATE_COOKIE).then(|| parameters.get(4..length)).flatten()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// `CRC32c` (RFC 9260 appendix A), bit by bit: probes are short. Connection tracking calls a packet with a wrong one
/// invalid.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // The check value of CRC-32C, and 32 zero bytes as in RFC 3720 appendix B.4.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    }

    #[test]
    fn a_question_and_its_answer_read_as_written() {
        let question = init(40_000, 9_999, 77);
        let asked = parse(&question).unwrap();
        assert_eq!(asked.chunk, Chunk::Init { tag: 77 });
        assert_eq!((asked.source_port, asked.destination_port, asked.verification_tag), (40_000, 9_999, 0));
        let answer = init_ack(&asked, 77, b"db/pg");
        let answered = parse(&answer).unwrap();
        assert_eq!(answered.chunk, Chunk::InitAck { cookie: b"db/pg" });
        assert_eq!((answered.source_port, answered.destination_port, answered.verification_tag), (9_999, 40_000, 77));
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        let answer = init_ack(&parse(&init(1, 2, 3)).unwrap(), 3, b"abcd");
        for length in 0..answer.len() {
            assert_eq!(parse(&answer[..length]), None, "{length} bytes");
        }
    }
}
