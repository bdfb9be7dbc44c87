//! Small made-up trees.

use super::*;

/// A page with one requirement.
const PAGE: &str = "# Page\n\n**AB-1.** It MUST.\n";

fn coverage(pages: &[&str], sources: &[(&str, &str)]) -> Coverage {
    let pages: Vec<Text> = pages
        .iter()
        .enumerate()
        .map(|(index, text)| (format!("docs/spec/{index}.md"), (*text).to_owned()))
        .collect();
    let sources: Vec<Text> = sources
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    Coverage::new(&pages, &sources)
}

/// The code and test places of AB-1.
fn places(sources: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let mut coverage = coverage(&[PAGE], sources);
    assert_eq!(coverage.faults, Vec::<String>::new());
    let requirement = coverage.requirements.pop_first().unwrap().1;
    (requirement.code, requirement.tests)
}

fn numbers(names: &[&str]) -> Vec<Number> {
    names.iter().map(|name| Number::parse(name).unwrap()).collect()
}

const CODE: (&str, &str) = ("crates/a/src/lib.rs", "/// Keeps [AB-1].\npub fn keep() {}\n");
const TEST: (&str, &str) = ("crates/a/tests/all.rs", "// [AB-1]\n");

#[test]
fn what_has_code_and_test_passes() {
    let coverage = coverage(&[PAGE], &[CODE, TEST]);
    assert_eq!(coverage.wrong(), Vec::<String>::new());
    assert_eq!(
        coverage.table(),
        "| requirement | code | tests |\n|---|---|---|\n| AB-1 | crates/a/src/lib.rs:1 | crates/a/tests/all.rs:1 |\n"
    );
}

#[test]
fn what_is_missing_is_named() {
    let missing = |sources: &[(&str, &str)]| coverage(&[PAGE], sources).wrong();
    assert_eq!(missing(&[]), ["docs/spec/0.md:3: AB-1 has no code and test"]);
    assert_eq!(missing(&[CODE]), ["docs/spec/0.md:3: AB-1 has no test"]);
    assert_eq!(missing(&[TEST]), ["docs/spec/0.md:3: AB-1 has no code"]);
    assert!(
        coverage(&[PAGE], &[CODE])
            .table()
            .ends_with("| AB-1 | crates/a/src/lib.rs:1 | none |\n")
    );
}

#[test]
fn what_is_planned_may_be_missing_but_not_done() {
    let page = "**AB-1.** (planned) It MUST.";
    let none = coverage(&[page], &[]);
    assert_eq!(none.wrong(), Vec::<String>::new());
    assert!(none.table().ends_with("| AB-1 | planned | planned |\n"));
    assert_eq!(coverage(&[page], &[CODE]).wrong(), Vec::<String>::new());
    assert_eq!(
        coverage(&[page], &[CODE, TEST]).wrong(),
        ["docs/spec/0.md:1: AB-1 has code and test: take its (planned) away"]
    );
}

#[test]
fn a_reference_to_nothing_is_named() {
    let stray = ("crates/a/src/b.rs", "//! [AB-1, AB-2]\n// [ZZ-9]\n");
    assert_eq!(
        coverage(&[PAGE], &[CODE, TEST, stray]).wrong(),
        [
            "crates/a/src/b.rs:1: AB-2 is no requirement",
            "crates/a/src/b.rs:2: ZZ-9 is no requirement"
        ]
    );
}

#[test]
fn a_number_defined_twice_is_named_also_across_pages() {
    let twice = "**AB-1.** One.\n\n**AB-1.** Two.\n";
    assert_eq!(
        coverage(&[twice, "\n**AB-1.** Three."], &[CODE, TEST]).wrong(),
        [
            "docs/spec/0.md:3: AB-1 is defined at docs/spec/0.md:1 already",
            "docs/spec/1.md:2: AB-1 is defined at docs/spec/0.md:1 already"
        ]
    );
}

#[test]
fn a_page_points_only_to_requirements_that_exist() {
    let page = "**AB-1.** As AB-3 says (AB-1), with CMAC-96.\n```\n**AB-2.** no text, AB-4\n```\n";
    assert_eq!(
        coverage(&[page], &[CODE, TEST]).wrong(),
        ["docs/spec/0.md:1: AB-3 is no requirement"]
    );
}

#[test]
fn numbers_are_capitals_and_a_count_from_one() {
    assert_eq!(Number::parse("CC-12").unwrap().to_string(), "CC-12");
    for word in ["A-1", "Ab-1", "AB-", "AB-01", "AB-1x", "AB1", "AB-1-2", "-1"] {
        assert_eq!(Number::parse(word), None, "{word}");
    }
    assert!(Number::parse("AB-2") < Number::parse("AB-10"));
}

#[test]
fn only_whole_brackets_of_numbers_are_references() {
    assert_eq!(
        references("/// [AB-1] (see [AB-2, CD-3]) [link](AB-4) [assumed A-5] AB-6 [AB-7 x"),
        numbers(&["AB-1", "AB-2", "CD-3"])
    );
}

#[test]
fn code_is_told_from_tests_by_the_path() {
    for path in [
        "crates/a/tests/suite/x.rs",
        "crates/a/src/tests.rs",
        "crates/a/src/b/tests.rs",
        "crates/a/src/tests/c.rs",
        "crates/a/scenarios/loss.rs",
        "crates/a/src/golden/table.rs",
    ] {
        let (code, tests) = places(&[(path, "// [AB-1]")]);
        assert_eq!((code.len(), tests.len()), (0, 1), "{path}");
    }
    for path in ["crates/a/src/contests.rs", "benches/probe/src/main.rs"] {
        let (code, tests) = places(&[(path, "// [AB-1]")]);
        assert_eq!((code.len(), tests.len()), (1, 0), "{path}");
    }
}

#[test]
fn a_test_module_ends_at_its_brace() {
    let source = "\
// [AB-1]
fn a() { /* { */ let _ = (\"{\", '{', r#\"\"{\"#, b'{', '\\'', \"\\\"{\"); }
#[cfg(test)]
use x::{y, z};
// [AB-1]
#[cfg(test)]
fn helper(x: [u8; 2]) -> u8 {
    // [AB-1]
    x[0]
}
struct S<'a> {
    // [AB-1]
    a: &'a str,
}
#[cfg(all(test, unix))]
mod tests {
    fn b() {}
    // [AB-1]
}
/* [AB-1]
   [AB-1] */
";
    let (code, tests) = places(&[("l.rs", source)]);
    assert_eq!(code, ["l.rs:1", "l.rs:5", "l.rs:12", "l.rs:20", "l.rs:21"]);
    assert_eq!(tests, ["l.rs:8", "l.rs:18"]);
}

#[test]
fn strings_and_code_hold_no_references() {
    let source =
        "fn a() { b(\"// [AB-1]\"); c(r\"[AB-1] // [AB-1]\"); let x = [AB-1]; for r in \"// [AB-1]\" {} }";
    assert_eq!(places(&[("l.rs", source)]), (vec![], vec![]));
}

#[test]
fn a_declared_test_module_is_found_in_its_file() {
    let declares = "#[cfg(test)]\nmod model;\nmod code;\n";
    for (parent, child) in [
        ("crates/a/src/lib.rs", "crates/a/src/model.rs"),
        ("crates/a/src/b.rs", "crates/a/src/b/model.rs"),
        ("crates/a/src/b/mod.rs", "crates/a/src/b/model/mod.rs"),
    ] {
        let (code, tests) = places(&[(parent, declares), (child, "// [AB-1]")]);
        assert_eq!((code.len(), tests.len()), (0, 1), "{parent}");
    }
    let (code, tests) = places(&[
        ("crates/a/src/lib.rs", declares),
        ("crates/a/src/code.rs", "// [AB-1]"),
    ]);
    assert_eq!((code.len(), tests.len()), (1, 0));
}

#[test]
fn unfinished_sources_do_not_panic() {
    for source in [
        "\"",
        "'",
        "'\\",
        "/*",
        "r#\"",
        "\"\\",
        "r",
        "b'",
        "}}}",
        "#[cfg(test)]",
        "é'é",
    ] {
        assert_eq!(split(source).len(), 1, "{source}");
        assert_eq!(test_regions(&split(source)).len(), 1, "{source}");
    }
}

#[test]
fn a_tree_on_disk_is_read() {
    let root = std::env::temp_dir().join(format!("xtask-spec-{}", std::process::id()));
    for (path, text) in [
        ("docs/spec/p.md", PAGE),
        CODE,
        TEST,
        ("benches/b/src/main.rs", "// [AB-1]"),
    ] {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let table = of_tree(&root).map(|coverage| coverage.table());
    let verdict = run(&root);
    std::fs::write(root.join(TEST.0), "").unwrap();
    let without_test = run(&root);
    std::fs::remove_dir_all(&root).unwrap();
    assert!(
        table.unwrap().ends_with(
            "| AB-1 | crates/a/src/lib.rs:1, benches/b/src/main.rs:1 | crates/a/tests/all.rs:1 |\n"
        )
    );
    verdict.unwrap();
    assert_eq!(
        without_test.unwrap_err().to_string(),
        "spec found 1 thing(s) to mend"
    );
}
