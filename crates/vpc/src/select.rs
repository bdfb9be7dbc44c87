//! What all Describe calls share: ids, filters with wildcards, pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Ec2Error, ErrorCode};
use crate::ids::clip;
use crate::quota;
use crate::shape::{Filter, Tag};

/// A filter that a Describe call knows: its name, and the values of an item that it compares.
pub(crate) type Field<S> = (&'static str, fn(&S) -> Vec<String>);

/// The parameters that choose among the items of a Describe call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Selection<'c> {
    /// Filters.
    pub(crate) filters: &'c [Filter],
    /// MaxResults.
    pub(crate) max_results: Option<i32>,
    /// NextToken.
    pub(crate) next_token: Option<&'c str>,
    /// Whether the call names ids, which excludes MaxResults.
    pub(crate) by_id: bool,
}

/// An item of a Describe call.
pub(crate) trait Item: Sized + 'static {
    /// The filters of the call.
    const FIELDS: &'static [Field<Self>];
    /// What pages are ordered and resumed by; unique among the items.
    fn key(&self) -> String;
    /// Its tags.
    fn tags(&self) -> &[Tag];
}

/// The items that pass the filters, one page of them, and the token of the next page.
pub(crate) fn select<T: Item>(
    items: Vec<T>,
    selection: Selection<'_>,
) -> Result<(Vec<T>, Option<String>), Ec2Error> {
    check_filters::<T>(selection.filters)?;
    let limit = page_limit(selection)?;
    let after = selection.next_token.map(decode_token).transpose()?;
    let mut keyed: Vec<(String, T)> = items
        .into_iter()
        .filter(|item| selection.filters.iter().all(|filter| passes(item, filter)))
        .map(|item| (item.key(), item))
        .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after))
        .collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let more = limit.is_some_and(|limit| keyed.len() > limit);
    keyed.truncate(limit.unwrap_or(usize::MAX));
    let next = match keyed.last() {
        Some((key, _)) if more => Some(URL_SAFE_NO_PAD.encode(key)),
        _ => None,
    };
    Ok((keyed.into_iter().map(|(_, item)| item).collect(), next))
}

/// Whether text matches a filter's value: `*` is any text, `?` one character, `\` takes the next
/// character as it is.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern = tokens(pattern);
    let text: Vec<char> = text.chars().collect();
    // Two cursors with one point of return, the last `*`: linear memory, and at most
    // pattern × text steps.
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                back = Some((p, t));
                p += 1;
                continue;
            }
            Some(Token::One) => {
                p += 1;
                t += 1;
                continue;
            }
            Some(Token::Char(c)) if *c == text[t] => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        let Some((star, from)) = back else {
            return false;
        };
        back = Some((star, from + 1));
        p = star + 1;
        t = from + 1;
    }
    pattern[p..].iter().all(|token| matches!(token, Token::Any))
}

enum Token {
    Any,
    One,
    Char(char),
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Char(chars.next().unwrap_or('\\')),
            other => Token::Char(other),
        });
    }
    tokens
}

fn check_filters<T: Item>(filters: &[Filter]) -> Result<(), Ec2Error> {
    let values: usize = filters.iter().map(|f| f.values.len()).sum();
    if filters.len() > quota::FILTERS_PER_CALL || values > quota::FILTER_VALUES_PER_CALL {
        return Err(Ec2Error::new(
            ErrorCode::FilterLimitExceeded,
            format!(
                "At most {} filters with {} values are allowed in a call",
                quota::FILTERS_PER_CALL,
                quota::FILTER_VALUES_PER_CALL
            ),
        ));
    }
    for filter in filters {
        let name = filter.name.as_deref().unwrap_or_default();
        let known = T::FIELDS.iter().any(|(field, _)| *field == name);
        if !known && !name.starts_with("tag:") && name != "tag-key" {
            return Err(Ec2Error::invalid_value(format!(
                "The filter '{}' is invalid",
                clip(name)
            )));
        }
        let long = |value: &String| value.chars().count() > quota::FILTER_VALUE_CHARS;
        if filter.values.iter().any(long) {
            return Err(Ec2Error::invalid_value(format!(
                "A value of the filter '{}' has more than {} characters",
                clip(name),
                quota::FILTER_VALUE_CHARS
            )));
        }
        if filter.values.is_empty() {
            return Err(Ec2Error::invalid_value(format!(
                "The filter '{}' has no values",
                clip(name)
            )));
        }
    }
    Ok(())
}

fn passes<T: Item>(item: &T, filter: &Filter) -> bool {
    let name = filter.name.as_deref().unwrap_or_default();
    let hit = |text: &str| filter.values.iter().any(|pattern| matches(pattern, text));
    if let Some(key) = name.strip_prefix("tag:") {
        let tag = item.tags().iter().find(|tag| tag.key.as_deref() == Some(key));
        return tag.is_some_and(|tag| hit(tag.value.as_deref().unwrap_or_default()));
    }
    if name == "tag-key" {
        return item.tags().iter().any(|tag| tag.key.as_deref().is_some_and(hit));
    }
    let field = T::FIELDS.iter().find(|(field, _)| *field == name);
    field.is_some_and(|(_, values)| values(item).iter().any(|value| hit(value)))
}

fn page_limit(selection: Selection<'_>) -> Result<Option<usize>, Ec2Error> {
    let Some(max) = selection.max_results else {
        return Ok(None);
    };
    if selection.by_id {
        return Err(Ec2Error::combination(
            "The parameter maxResults cannot be used with the parameter that lists ids",
        ));
    }
    let max = usize::try_from(max).unwrap_or(0);
    if !(MIN_PAGE..=MAX_PAGE).contains(&max) {
        return Err(Ec2Error::invalid_value(format!(
            "Value ( {} ) for parameter maxResults is invalid. Expecting a value from {MIN_PAGE} to {MAX_PAGE}",
            selection.max_results.unwrap_or_default()
        )));
    }
    Ok(Some(max))
}

fn decode_token(token: &str) -> Result<String, Ec2Error> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            Ec2Error::new(
                ErrorCode::InvalidNextToken,
                "The token is not one that a call returned",
            )
        })
}

/// Bounds of MaxResults.
const MIN_PAGE: usize = 5;
const MAX_PAGE: usize = 1_000;

/// Helpers for tables of fields.
pub(crate) fn text(value: &Option<String>) -> Vec<String> {
    value.iter().cloned().collect()
}

/// As [`text`], for a flag.
pub(crate) fn flag(value: Option<bool>) -> Vec<String> {
    value.iter().map(bool::to_string).collect()
}

/// As [`text`], for a number.
pub(crate) fn number(value: Option<i32>) -> Vec<String> {
    value.iter().map(i32::to_string).collect()
}

/// As [`text`], for a time.
pub(crate) fn time(value: Option<jiff::Timestamp>) -> Vec<String> {
    value.iter().map(|t| format!("{t:.3}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(String, Vec<Tag>);

    impl Item for Thing {
        const FIELDS: &'static [Field<Self>] = &[("name", |t| vec![t.0.clone()])];

        fn key(&self) -> String {
            self.0.clone()
        }

        fn tags(&self) -> &[Tag] {
            &self.1
        }
    }

    fn things(count: usize) -> Vec<Thing> {
        let tag = |n: usize| Tag {
            key: Some("n".into()),
            value: Some(n.to_string()),
        };
        (0..count)
            .map(|n| Thing(format!("thing-{n:03}"), vec![tag(n)]))
            .collect()
    }

    fn filter(name: &str, values: &[&str]) -> Filter {
        Filter {
            name: Some(name.into()),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        }
    }

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("*.internal", "ip-1.ec2.internal", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            (r"a\*c", "a*c", true),
            (r"a\*c", "abc", false),
            ("*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaac", false),
            ("ABC", "abc", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn filters_are_anded_and_their_values_ored() {
        let filters = [
            filter("name", &["thing-00?", "thing-011"]),
            filter("tag:n", &["3", "11", "12"]),
        ];
        let selection = Selection {
            filters: &filters,
            ..Selection::default()
        };
        let (found, next) = select(things(20), selection).unwrap();
        let names: Vec<_> = found.iter().map(|t| t.0.as_str()).collect();
        assert_eq!(names, ["thing-003", "thing-011"]);
        assert_eq!(next, None);
    }

    #[test]
    fn an_unknown_filter_is_refused_even_without_items() {
        let filters = [filter("nonsense", &["1"])];
        let selection = Selection {
            filters: &filters,
            ..Selection::default()
        };
        let error = select(things(0), selection).err().unwrap();
        assert_eq!(error.code, ErrorCode::InvalidParameterValue);
    }

    #[test]
    fn filters_are_bounded() {
        let refused = |filters: Vec<Filter>| {
            let selection = Selection {
                filters: &filters,
                ..Selection::default()
            };
            select(things(1), selection).err().unwrap().code
        };
        let long = "*".repeat(quota::FILTER_VALUE_CHARS + 1);
        assert_eq!(
            refused(vec![filter("name", &[&long])]),
            ErrorCode::InvalidParameterValue
        );
        assert_eq!(
            refused(vec![filter("name", &[])]),
            ErrorCode::InvalidParameterValue
        );
        let many = ["a"; quota::FILTER_VALUES_PER_CALL + 1];
        assert_eq!(
            refused(vec![filter("name", &many)]),
            ErrorCode::FilterLimitExceeded
        );
        let filters = vec![filter("name", &["a"]); quota::FILTERS_PER_CALL + 1];
        assert_eq!(refused(filters), ErrorCode::FilterLimitExceeded);
    }

    #[test]
    fn pages_cover_everything_once() {
        let mut token: Option<String> = None;
        let mut seen = Vec::new();
        for _ in 0..5 {
            let selection = Selection {
                max_results: Some(5),
                next_token: token.as_deref(),
                ..Selection::default()
            };
            let (found, next) = select(things(12), selection).unwrap();
            seen.extend(found.into_iter().map(|t| t.0));
            token = next;
            if token.is_none() {
                break;
            }
        }
        let all: Vec<_> = things(12).into_iter().map(|t| t.0).collect();
        assert_eq!(seen, all);
    }

    #[test]
    fn page_parameters_are_checked() {
        let run = |selection| select(things(1), selection).err().unwrap().code;
        let selection = Selection {
            max_results: Some(4),
            ..Selection::default()
        };
        assert_eq!(run(selection), ErrorCode::InvalidParameterValue);
        let selection = Selection {
            max_results: Some(5),
            by_id: true,
            ..Selection::default()
        };
        assert_eq!(run(selection), ErrorCode::InvalidParameterCombination);
        let selection = Selection {
            next_token: Some("%"),
            ..Selection::default()
        };
        assert_eq!(run(selection), ErrorCode::InvalidNextToken);
    }
}
