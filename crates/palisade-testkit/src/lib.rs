//! What tests share: scenario files, random clusters, big clusters. Nothing of the product uses it.
//!
//! - [`scenario`] reads `scenarios/*.md` and plays their steps to snapshots.
//! - [`random`] makes small clusters with flows near the edges of their policies; [`mutate`](mutate::mutate)
//!   changes them step by step.
//! - [`shrink`] makes a failing case small, [`manifest`] prints it as YAML.
//! - [`large`] makes the clusters of benchmarks, [`blocks`] their ban lists.
//! - [`measure`] says what a process uses, and prints figures.
//! - [`kernel`] runs tests that need namespaces of their own.

pub mod blocks;
pub mod kernel;
pub mod large;
pub mod manifest;
pub mod measure;
pub mod mutate;
pub mod random;
pub mod rng;
pub mod scenario;
pub mod shrink;
