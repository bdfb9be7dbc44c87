//! `cargo xtask spec`: each numbered requirement of docs/spec, with the code that keeps it and the test that shows it.
//!
//! A requirement is a line that begins with `**ABC-1.**`; a reference to it is `[ABC-1]` or `[ABC-1, ABC-2]` in a comment of a
//! Rust source. What is not there yet says `**ABC-1.** (planned)`: it may lack code or test, and may not have both, so that the
//! mark goes when the work is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A text with its path from the root of the repository.
type Text = (String, String);

/// Prints the table and fails when a requirement lacks code or test, or a reference or number is wrong.
pub(crate) fn run(root: &Path) -> Result<()> {
    let coverage = of_tree(root)?;
    #[expect(clippy::print_stdout, reason = "the table is this command's output")]
    {
        print!("{}", coverage.table());
    }
    let wrong = coverage.wrong();
    for line in &wrong {
        crate::say(line);
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("spec found {} thing(s) to mend", wrong.len())
}

/// Where one requirement is defined, kept and shown.
#[derive(Debug, Default)]
struct Requirement {
    /// `file:line` of its first definition.
    defined: String,
    planned: bool,
    /// `file:line` of each reference.
    code: Vec<String>,
    tests: Vec<String>,
}

/// What the specifications and the sources say about each other.
#[derive(Debug, Default)]
struct Coverage {
    requirements: BTreeMap<Number, Requirement>,
    /// Numbers defined twice and references to nothing.
    faults: Vec<String>,
}

impl Coverage {
    fn new(specifications: &[Text], sources: &[Text]) -> Self {
        let mut coverage = Self::default();
        for (path, text) in specifications {
            coverage.define(path, text);
        }
        for (path, text) in specifications {
            coverage.check_prose(path, text);
        }
        let test_files = test_modules(sources);
        for (path, text) in sources {
            let whole_file = is_test_path(path) || test_files.contains(path);
            coverage.refer(path, text, whole_file);
        }
        coverage
    }

    /// Takes the requirements that a specification defines.
    fn define(&mut self, path: &str, text: &str) {
        for (index, line) in prose(text) {
            let Some((number, rest)) = definition(line) else {
                continue;
            };
            let place = format!("{path}:{}", index + 1);
            if let Some(first) = self.requirements.get(&number) {
                self.faults.push(format!(
                    "{place}: {number} is defined at {} already",
                    first.defined
                ));
                continue;
            }
            let requirement = Requirement {
                defined: place,
                planned: rest.trim_start().starts_with("(planned)"),
                ..Requirement::default()
            };
            self.requirements.insert(number, requirement);
        }
    }

    /// A specification that points to a requirement of a known family points to one that exists.
    fn check_prose(&mut self, path: &str, text: &str) {
        let families: BTreeSet<String> = self.requirements.keys().map(|n| n.family.clone()).collect();
        for (index, line) in prose(text) {
            for word in line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
                if let Some(number) = Number::parse(word)
                    && families.contains(&number.family)
                    && !self.requirements.contains_key(&number)
                {
                    self.faults
                        .push(format!("{path}:{}: {number} is no requirement", index + 1));
                }
            }
        }
    }

    /// Takes the references of a Rust source.
    fn refer(&mut self, path: &str, text: &str, whole_file_is_test: bool) {
        let lines = split(text);
        let test_lines = test_regions(&lines);
        for (index, line) in lines.iter().enumerate() {
            for number in references(&line.comment) {
                let place = format!("{path}:{}", index + 1);
                let Some(requirement) = self.requirements.get_mut(&number) else {
                    self.faults.push(format!("{place}: {number} is no requirement"));
                    continue;
                };
                let places = if whole_file_is_test || test_lines[index] {
                    &mut requirement.tests
                } else {
                    &mut requirement.code
                };
                places.push(place);
            }
        }
    }

    /// One row a requirement, in Markdown.
    fn table(&self) -> String {
        let mut table = String::from("| requirement | code | tests |\n|---|---|---|\n");
        for (number, requirement) in &self.requirements {
            let none = if requirement.planned { "planned" } else { "none" };
            let cell = |places: &[String]| {
                if places.is_empty() {
                    none.to_owned()
                } else {
                    places.join(", ")
                }
            };
            let _ = writeln!(
                table,
                "| {number} | {} | {} |",
                cell(&requirement.code),
                cell(&requirement.tests)
            );
        }
        table
    }

    /// All that fails the check, a line each.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = self.faults.clone();
        for (number, requirement) in &self.requirements {
            let lacks = match (requirement.code.is_empty(), requirement.tests.is_empty()) {
                (true, true) => "code and test",
                (true, false) => "code",
                (false, true) => "test",
                (false, false) => "",
            };
            let place = &requirement.defined;
            if requirement.planned && lacks.is_empty() {
                wrong.push(format!(
                    "{place}: {number} has code and test: take its (planned) away"
                ));
            } else if !requirement.planned && !lacks.is_empty() {
                wrong.push(format!("{place}: {number} has no {lacks}"));
            }
        }
        wrong
    }
}

/// A requirement's number: `PKT-1`, in the order of family and then number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Number {
    family: String,
    index: u32,
}

impl Number {
    /// Reads `PKT-1`: two or more capital letters, a hyphen, a number without leading zeros.
    fn parse(word: &str) -> Option<Self> {
        let (family, digits) = word.split_once('-')?;
        let named = family.len() >= 2 && family.bytes().all(|b| b.is_ascii_uppercase());
        let counted = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        let index = digits.parse().ok()?;
        (named && counted).then(|| Self {
            family: family.to_owned(),
            index,
        })
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.family, self.index)
    }
}

/// The lines of a page, with their index from 0, that are not inside a fenced block.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// `**PKT-1.** the rest`: the number and the rest.
fn definition(line: &str) -> Option<(Number, &str)> {
    let (word, rest) = line.strip_prefix("**")?.split_once(".**")?;
    Some((Number::parse(word)?, rest))
}

/// The requirements that a comment names: `[PKT-1]`, `[PKT-1, PKT-2]`. Other brackets are links and lists.
fn references(comment: &str) -> Vec<Number> {
    let mut found = Vec::new();
    for rest in comment.split('[').skip(1) {
        let Some((inside, _)) = rest.split_once(']') else {
            continue;
        };
        let numbers: Option<Vec<Number>> = inside.split(',').map(|w| Number::parse(w.trim())).collect();
        found.extend(numbers.unwrap_or_default());
    }
    found
}

/// A line of Rust: its comment, and its code with the contents of strings taken out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Line {
    code: String,
    comment: String,
}

/// Splits a Rust source into code and comments, so that neither a bracket in a string nor a brace in a comment counts.
fn split(text: &str) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = token(rest);
        let (piece, after) = rest.split_at(length.max(first.len_utf8()));
        for (index, part) in piece.split('\n').enumerate() {
            if index > 0 {
                lines.push(Line::default());
            }
            if let Some(line) = lines.last_mut() {
                match kind {
                    Kind::Code => line.code.push_str(part),
                    Kind::Comment => line.comment.push_str(part),
                    Kind::Literal => {}
                }
            }
        }
        rest = after;
    }
    lines
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The kind and length in bytes of what stands at the beginning of `rest`.
fn token(rest: &str) -> (Kind, usize) {
    let bytes = rest.as_bytes();
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment(bytes));
    }
    if bytes[0] == b'"' {
        return (Kind::Literal, quoted(bytes, b'"'));
    }
    if let Some(length) = raw_string(rest) {
        return (Kind::Literal, length);
    }
    if bytes[0] == b'\'' {
        // A character, or the quote of a lifetime or label.
        let mut following = rest.chars().skip(1);
        let (first, second) = (following.next(), following.next());
        let is_character = first == Some('\\') || second == Some('\'');
        return if is_character {
            (Kind::Literal, quoted(bytes, b'\''))
        } else {
            (Kind::Code, 1)
        };
    }
    // A whole word at once, so that the `r` of `for` begins no raw string.
    let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    (Kind::Code, word.unwrap_or(rest.len()))
}

/// The length of a nested block comment.
fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a literal between two quotes.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    bytes.len().min(at + 1)
}

/// The length of `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`, if one begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"]
        .into_iter()
        .find(|p| rest.starts_with(&format!("{p}\"")) || rest.starts_with(&format!("{p}#")))?;
    let hashes = rest[prefix.len()..].bytes().take_while(|b| *b == b'#').count();
    let opened = prefix.len() + hashes + 1;
    if rest.as_bytes().get(opened - 1) != Some(&b'"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let length = rest[opened..].find(&end).map(|at| opened + at + end.len());
    Some(length.unwrap_or(rest.len()))
}

/// For each line whether it is inside an item under `#[cfg(test)]`.
fn test_regions(lines: &[Line]) -> Vec<bool> {
    let mut regions = vec![false; lines.len()];
    let mut depth = 0_u32;
    // The depth at which the item under the attribute began, and whether its body is open.
    let mut item: Option<(u32, bool)> = None;
    for (index, line) in lines.iter().enumerate() {
        if item.is_none() && is_test_attribute(&line.code) {
            item = Some((depth, false));
        }
        regions[index] = item.is_some();
        let code = if is_test_attribute(&line.code) {
            line.code.split_once(']').map_or("", |(_, after)| after)
        } else {
            &line.code
        };
        for letter in code.chars() {
            match letter {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            item = item.and_then(|(start, open)| match letter {
                '{' => Some((start, true)),
                '}' if depth < start || (open && depth == start) => None,
                ';' if !open && depth == start => None,
                _ => Some((start, open)),
            });
        }
    }
    regions
}

/// `#[cfg(test)]` and `#[cfg(all(test, …))]`.
fn is_test_attribute(code: &str) -> bool {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    code.contains("#[cfg(test)]") || code.contains("#[cfg(all(test,")
}

/// Files of `#[cfg(test)] mod name;`, wherever the module tree puts them.
fn test_modules(sources: &[Text]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for (path, text) in sources {
        let lines = split(text);
        let regions = test_regions(&lines);
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = file.trim_end_matches(".rs");
        let own = if matches!(stem, "lib" | "main" | "mod") {
            folder.to_owned()
        } else {
            format!("{folder}/{stem}")
        };
        for (line, in_test) in lines.iter().zip(regions) {
            if let Some(name) = in_test.then(|| declared_module(&line.code)).flatten() {
                files.insert(format!("{own}/{name}.rs"));
                files.insert(format!("{own}/{name}/mod.rs"));
            }
        }
    }
    files
}

/// The name of `mod name;`.
fn declared_module(code: &str) -> Option<&str> {
    let words: Vec<&str> = code.split_whitespace().collect();
    let at = words.iter().position(|w| *w == "mod")?;
    words.get(at + 1)?.strip_suffix(';')
}

/// Whether a whole file is test code: a folder of tests or golden scenarios, or a file called tests.rs.
fn is_test_path(path: &str) -> bool {
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    file == "tests.rs" || folders.split('/').any(|folder| TEST_FOLDERS.contains(&folder))
}

const TEST_FOLDERS: [&str; 3] = ["tests", "golden", "scenarios"];

/// Folders whose Rust sources may point to requirements.
const SOURCES: [&str; 2] = ["crates", "benches"];

fn of_tree(root: &Path) -> Result<Coverage> {
    let specifications = texts(root, "docs/spec", "md")?;
    let mut sources = Vec::new();
    for folder in SOURCES {
        sources.extend(texts(root, folder, "rs")?);
    }
    Ok(Coverage::new(&specifications, &sources))
}

/// The files below `folder` with this ending, in order, build outputs left out.
fn texts(root: &Path, folder: &str, ending: &str) -> Result<Vec<Text>> {
    let files = crate::tidy::files(&root.join(folder), ending)?;
    let read = |file: &std::path::PathBuf| {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("Could not read {}", file.display()));
        Ok((crate::tidy::relative(root, file), text?))
    };
    files.iter().map(read).collect()
}

#[cfg(test)]
mod tests;
