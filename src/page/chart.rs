//! Bars in SVG, without a colour or size of their own: classes name what they show. Pure.

use maud::{Markup, html};

/// Units of a whole bar's width.
const WIDTH: u64 = 1000;
/// The least that a part is wide: one record of a million must be seen.
const LEAST: u64 = 6;

/// One part of a bar.
pub(super) struct Part {
    /// Its CSS class.
    pub(super) class: &'static str,
    /// Records.
    pub(super) number: u64,
}

/// Parts of a whole, side by side. `label`: what it shows, for those who do not see it.
pub(super) fn stacked(parts: &[Part], label: &str) -> Markup {
    let widths: Vec<u64> = widths(&parts.iter().map(|part| part.number).collect::<Vec<_>>());
    let starts = widths.iter().scan(0, |at, width| {
        let start = *at;
        *at += width;
        Some(start)
    });
    html! {
        svg.whole viewBox={ "0 0 " (WIDTH) " 10" } preserveAspectRatio="none" role="img" aria-label=(label) {
            @for ((part, width), start) in parts.iter().zip(&widths).zip(starts) {
                @if *width > 0 { rect class=(part.class) x=(start) y="0" width=(width) height="10" {} }
            }
        }
    }
}

/// Columns side by side, each of its parts one on the other; one of `most` is as high as the picture.
pub(super) fn columns(columns: &[Vec<Part>], most: u64, label: &str) -> Markup {
    html! {
        svg.plot viewBox={ "0 0 " (columns.len() * 10) " " (WIDTH) } preserveAspectRatio="none" role="img" aria-label=(label) {
            @for (at, column) in columns.iter().enumerate() {
                @for (class, top, height) in stack(column, most) {
                    rect class=(class) x=(at * 10) y=(top) width="10" height=(height) {}
                }
            }
        }
    }
}

/// Class, top and height of each part that is not 0, from the bottom up.
fn stack(column: &[Part], most: u64) -> Vec<(&'static str, u64, u64)> {
    let mut top = WIDTH;
    let of =
        |number: u64| u64::try_from(u128::from(number) * u128::from(WIDTH) / u128::from(most.max(1))).unwrap_or(WIDTH);
    let parts = column.iter().filter(|part| part.number > 0);
    parts
        .map(|part| {
            let height = of(part.number).max(LEAST).min(top);
            top -= height;
            (part.class, top, height)
        })
        .collect()
}

/// The colour of a row, before its words.
pub(super) fn key(class: &str) -> Markup {
    html! {
        svg.key viewBox="0 0 1 1" aria-hidden="true" focusable="false" { rect class=(class) width="1" height="1" {} }
    }
}

/// One bar of a row, `number` of `most`. What it shows stands beside it, so that it is no image of its own.
pub(super) fn row(class: &str, number: u64, most: u64) -> Markup {
    let rest = most.saturating_sub(number);
    let width = widths(&[number, rest]).first().copied().unwrap_or_default();
    html! {
        svg viewBox={ "0 0 " (WIDTH) " 10" } preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect.track x="0" y="4" width=(WIDTH) height="2" {}
            @if width > 0 { rect class=(class) x="0" y="0" width=(width) height="10" {} }
        }
    }
}

/// Whole units that add up to the whole width, none of them 0 whose number is not.
fn widths(numbers: &[u64]) -> Vec<u64> {
    let all: u128 = numbers.iter().map(|number| u128::from(*number)).sum();
    if all == 0 {
        return vec![0; numbers.len()];
    }
    let of = |number: &u64| u64::try_from(u128::from(*number) * u128::from(WIDTH) / all).unwrap_or(WIDTH);
    let mut widths: Vec<u64> = numbers.iter().map(|n| if *n == 0 { 0 } else { of(n).max(LEAST) }).collect();
    let used: u64 = widths.iter().sum();
    // what rounding left, or took too much, is the widest one's
    if let Some(widest) = widths.iter_mut().max() {
        *widest = (*widest + WIDTH).saturating_sub(used);
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_one_on_the_other_and_stay_in_the_picture() {
        let part = |number| Part { class: "x", number };
        assert_eq!(stack(&[part(25), part(0), part(50)], 100), [("x", 750, 250), ("x", 250, 500)]);
        assert_eq!(stack(&[part(1)], u64::MAX), [("x", WIDTH - LEAST, LEAST)], "one record is seen");
        assert_eq!(stack(&[part(u64::MAX), part(u64::MAX)], u64::MAX), [("x", 0, 1000), ("x", 0, 0)]);
        assert_eq!(stack(&[part(0)], 0), []);
    }

    #[test]
    fn widths_fill_the_bar_and_hide_nothing() {
        for numbers in [vec![1, 1_000_000], vec![0, 0], vec![3, 0, 3, 3], vec![u64::MAX, u64::MAX, 1], vec![5]] {
            let widths = widths(&numbers);
            let all: u64 = widths.iter().sum();
            assert_eq!(all, if numbers.iter().all(|n| *n == 0) { 0 } else { WIDTH }, "{numbers:?}: {widths:?}");
            for (number, width) in numbers.iter().zip(&widths) {
                assert_eq!(*number == 0, *width == 0, "{numbers:?}: {widths:?}");
            }
        }
    }
}
