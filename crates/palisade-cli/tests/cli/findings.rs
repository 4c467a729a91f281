//! The pages of checks.

use palisade_check::checks;

use crate::user::{self, User};

#[test]
fn every_check_has_its_page() {
    let directory = user::directory();
    for known in checks::ALL {
        let output = User::Same.command(directory.path()).args(["check", "--explain", known.id]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), known.page);
    }
}
