//! `cargo xtask tidy`: rules of the house that no compiler lint covers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The crates from the bottom up; one may depend only on crates to its left (docs/design.md, "Folders").
const TIERS: &[&str] = &[
    "trinic-wire",
    "trinic-switch",
    "trinic-linklocal",
    "trinic-guest",
    "trinic-vpc",
    "trinic-ec2",
    "trinic-pci",
    "trinic-ena",
    "trinic-srd",
    "trinic-sim",
    "trinic-store",
    "trinic-host",
    "trinic",
    "trinic-probe",
    "trinic-srd-bench",
    "xtask",
];

/// Crates without IO, clock, thread, ambient randomness or `unsafe`.
const PURE: &[&str] = &[
    "wire",
    "switch",
    "linklocal",
    "guest",
    "vpc",
    "ec2",
    "pci",
    "ena",
    "srd",
    "sim",
];

/// Most lines of a source file, and of a test file.
const FILE_LINES: usize = 1000;
const TEST_FILE_LINES: usize = 1500;

/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Runs every check and reports all that is wrong, not only the first.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    directions(root, &mut wrong)?;
    purity(root, &mut wrong)?;
    sizes(root, &mut wrong)?;
    assumptions(root, &mut wrong)?;
    if wrong.is_empty() {
        crate::say("tidy: ok");
        return Ok(());
    }
    for line in &wrong {
        crate::say(line);
    }
    bail!("tidy found {} thing(s) to mend", wrong.len())
}

/// Every dependency between our crates goes from a later tier to an earlier one.
fn directions(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("Could not run cargo metadata")?;
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata gave something unreadable")?;
    let tier: BTreeMap<&str, usize> = TIERS.iter().enumerate().map(|(i, name)| (*name, i)).collect();
    for package in &metadata.packages {
        let Some(own) = tier.get(package.name.as_str()) else {
            wrong.push(format!(
                "{}: not in the list of tiers (xtask/src/tidy.rs)",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let test_only = dependency.kind.as_deref() == Some("dev");
            if let Some(other) = tier.get(dependency.name.as_str())
                && other >= own
                && !test_only
            {
                wrong.push(format!(
                    "{}: depends on {}, which is not below it",
                    package.name, dependency.name
                ));
            }
        }
    }
    Ok(())
}

/// Pure crates forbid unsafe code and name no IO in their sources.
fn purity(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    const BANNED: &[&str] = &[
        "std::fs",
        "std::thread",
        "std::process",
        "SystemTime::now",
        "Instant::now",
        "rand::rng()",
    ];
    for name in PURE {
        let folder = root.join("crates").join(name).join("src");
        let library = std::fs::read_to_string(folder.join("lib.rs"))?;
        if !library.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!(
                "crates/{name}: a pure crate says #![forbid(unsafe_code)]"
            ));
        }
        for file in rust_files(&folder)? {
            let text = std::fs::read_to_string(&file)?;
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if let Some(word) = BANNED.iter().find(|word| code.contains(**word)) {
                    wrong.push(format!(
                        "{}:{}: {word} in a pure crate",
                        relative(root, &file),
                        number + 1
                    ));
                }
            }
        }
    }
    Ok(())
}

/// No file outgrows one reader.
fn sizes(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    for folder in ["crates", "xtask", "fuzz"] {
        if !root.join(folder).is_dir() {
            continue;
        }
        for file in rust_files(&root.join(folder))? {
            let name = relative(root, &file);
            let lines = std::fs::read_to_string(&file)?.lines().count();
            let is_test = name.contains("/tests/") || name.ends_with("tests.rs");
            let limit = if is_test { TEST_FILE_LINES } else { FILE_LINES };
            if lines > limit && !LONG_FILES.iter().any(|(long, _)| *long == name) {
                wrong.push(format!(
                    "{name}: {lines} lines, more than {limit}: split it by subject"
                ));
            }
        }
    }
    Ok(())
}

/// Every assumption in the code is on its page, and every one on the page is in the code.
fn assumptions(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let page = std::fs::read_to_string(root.join("docs/assumptions.md"))
        .context("Could not read docs/assumptions.md")?;
    let listed: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| A-")?.split(' ').next())
        .collect();
    let mut met = BTreeSet::new();
    for file in rust_files(&root.join("crates"))? {
        let text = std::fs::read_to_string(&file)?;
        for id in tags(&text) {
            if !listed.contains(id) {
                wrong.push(format!(
                    "{}: A-{id} is not in docs/assumptions.md",
                    relative(root, &file)
                ));
            }
            met.insert(id.to_owned());
        }
    }
    let unmet = listed.iter().filter(|id| !met.contains(**id));
    wrong.extend(unmet.map(|id| format!("docs/assumptions.md: nothing in the code points to A-{id}")));
    Ok(())
}

/// The numbers of the assumptions that a text points to.
fn tags(text: &str) -> impl Iterator<Item = &str> {
    text.split("[assumed A-")
        .skip(1)
        .filter_map(|rest| rest.split_once(']').map(|(id, _)| id))
}

/// All `.rs` files below `folder`, build outputs left out.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    files(folder, "rs")
}

/// All files below `folder` with this ending, in order, build outputs left out.
pub(crate) fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| format!("Could not read {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The path of a file from the root of the repository.
pub(crate) fn relative(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_wherever_they_stand() {
        let text = "/// A. [assumed A-01]\n//! B [assumed A-12].\n/// [assumed A-";
        assert_eq!(tags(text).collect::<Vec<_>>(), ["01", "12"]);
    }
}
