//! The fuzz targets on all that is in their corpora.

use std::{fs, path::Path};

use sphinx::fuzzing;

/// Runs a target on every file in its folder.
fn run(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("every target has a corpus") {
        let path = entry.expect("the folder can be listed").path();
        let bytes = fs::read(&path).expect("a corpus consists of files");
        body(&bytes);
        count += 1;
    }
    assert!(count > 2, "{} has only {count} files", folder.display());
}

#[test]
fn products_agree() {
    run("products_agree", fuzzing::products_agree);
}

#[test]
fn batches_agree() {
    run("batches_agree", fuzzing::batches_agree);
}

#[test]
fn parsers_take_anything() {
    run("parsers_take_anything", fuzzing::parsers_take_anything);
}
