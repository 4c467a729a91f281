//! v1 `Service`: only which pods its name means.

use palisade_core::Labels;

use crate::metadata;
use crate::reading::{At, Reading};

/// The labels that its pods have; none at all selects nothing.
pub fn read(root: &At<'_>, reading: &mut Reading) -> Labels {
    let Some(spec) = root.field("spec") else { return Labels::new() };
    spec.misspelt_fields(&["selector", "type"], reading);
    // An ExternalName Service leads to a name outside, whatever it selects.
    if spec.node.get_text("type") == Some("ExternalName") {
        return Labels::new();
    }
    spec.field("selector").map(|at| metadata::labels(&at, reading)).unwrap_or_default()
}
