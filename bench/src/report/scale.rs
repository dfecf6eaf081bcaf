//! A linear axis from zero with round numbers.

/// An axis: from zero to `top`, a tick every `step`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Highest value on the axis.
    pub top: f64,
    /// Distance between ticks: 1, 2 or 5 times a power of ten.
    pub step: f64,
}

impl Scale {
    /// The smallest such axis with about four ticks that holds `most`.
    pub fn up_to(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let rough = most / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|&step| step >= rough * 0.999).unwrap_or(power * 10.0);
        Self { top: (most / step).ceil() * step, step }
    }

    /// The values that get a label.
    pub fn ticks(self) -> impl Iterator<Item = f64> {
        let count = (self.top / self.step).round() as u32;
        (0..=count).map(move |index| f64::from(index) * self.step)
    }
}

/// A tick's label: `40k` for 40,000.
pub fn label(value: f64) -> String {
    if value >= 1_000.0 { format!("{}k", value / 1_000.0) } else { format!("{value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_data() {
        assert_eq!(Scale::up_to(46_600.0), Scale { top: 60_000.0, step: 20_000.0 });
        assert_eq!(Scale::up_to(20.0), Scale { top: 20.0, step: 5.0 });
        assert_eq!(Scale::up_to(0.0).top, 1.0);
        assert_eq!(Scale::up_to(20.0).ticks().count(), 5);
        assert_eq!((label(7_500.0).as_str(), label(0.0).as_str()), ("7.5k", "0"));
    }
}
