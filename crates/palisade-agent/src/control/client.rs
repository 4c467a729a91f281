//! The other end of the socket: the commands that ask.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, ControlError, Request};
use crate::files::FileError;

/// How long an answer may take, unless packets are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lines of an answer, until the agent has no more.
#[derive(Debug)]
pub struct Answers {
    path: PathBuf,
    reader: BufReader<UnixStream>,
}

/// Asks the agent whose socket this is.
///
/// # Errors
///
/// If no agent answers there, or the socket fails.
pub fn ask(path: &Path, request: Request) -> Result<Answers, ControlError> {
    let failed = || FileError::of("ask at", path);
    let mut stream = UnixStream::connect(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => ControlError::NoAgent { path: path.to_owned(), source },
        _ => failed()(source).into(),
    })?;
    if !matches!(request, Request::Denied { follow: true }) {
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
    }
    let mut line = serde_json::to_vec(&request).map_err(ControlError::Unreadable)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed())?;
    Ok(Answers { path: path.to_owned(), reader: BufReader::new(stream) })
}

impl Iterator for Answers {
    type Item = Result<Answer, ControlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(match serde_json::from_str(&line) {
                Ok(Answer::Error(message)) => Err(ControlError::Refused(message)),
                Ok(answer) => Ok(answer),
                Err(error) => Err(ControlError::Unreadable(error)),
            }),
            Err(error) => Some(Err(FileError::of("read the answer at", &self.path)(error).into())),
        }
    }
}
