//! The inverse of the normal distribution function, Φ⁻¹.
//!
//! Algorithm AS 241, routine PPND16: M. J. Wichura, "The Percentage Points of the Normal
//! Distribution", Applied Statistics 37 (1988), 477–484. Relative accuracy about 1e-16. It is written
//! out here because a path must be the same, bit for bit, on every machine and in every release: the
//! logarithm comes from the `libm` crate, not from the system, and nothing else in it is inexact
//! beyond IEEE 754's own rounding.

#![expect(
    clippy::excessive_precision,
    reason = "the coefficients stand as they are published"
)]

/// Φ⁻¹(p) for p in (0, 1): the value that a standard normal variable stays below with probability p.
pub fn inverse_cdf(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * polynomial(&CENTRE_NUMERATOR, r) / polynomial(&CENTRE_DENOMINATOR, r);
    }
    let tail = if q <= 0.0 { p } else { 1.0 - p };
    let r = (-libm::log(tail)).sqrt();
    let magnitude = if r <= 5.0 {
        let r = r - 1.6;
        polynomial(&MIDDLE_NUMERATOR, r) / polynomial(&MIDDLE_DENOMINATOR, r)
    } else {
        let r = r - 5.0;
        polynomial(&TAIL_NUMERATOR, r) / polynomial(&TAIL_DENOMINATOR, r)
    };
    if q < 0.0 { -magnitude } else { magnitude }
}

/// Horner's scheme, highest power first, without fused operations.
fn polynomial(coefficients: &[f64; 8], x: f64) -> f64 {
    coefficients
        .iter()
        .fold(0.0, |sum, coefficient| sum * x + coefficient)
}

const CENTRE_NUMERATOR: [f64; 8] = [
    2.509_080_928_730_122_672_7e3,
    3.343_057_558_358_812_810_5e4,
    6.726_577_092_700_870_085_3e4,
    4.592_195_393_154_987_145_7e4,
    1.373_169_376_550_946_112_5e4,
    1.971_590_950_306_551_442_7e3,
    1.331_416_678_917_843_774_5e2,
    3.387_132_872_796_366_608_0e0,
];
const CENTRE_DENOMINATOR: [f64; 8] = [
    5.226_495_278_852_854_561_0e3,
    2.872_908_573_572_194_267_4e4,
    3.930_789_580_009_271_061_0e4,
    2.121_379_430_158_659_586_7e4,
    5.394_196_021_424_751_107_7e3,
    6.871_870_074_920_579_083_0e2,
    4.231_333_070_160_091_125_2e1,
    1.0,
];
const MIDDLE_NUMERATOR: [f64; 8] = [
    7.745_450_142_783_414_076_40e-4,
    2.272_384_498_926_918_458_33e-2,
    2.417_807_251_774_506_117_70e-1,
    1.270_458_252_452_368_382_58e0,
    3.647_848_324_763_204_605_04e0,
    5.769_497_221_460_691_405_50e0,
    4.630_337_846_156_545_295_90e0,
    1.423_437_110_749_683_577_34e0,
];
const MIDDLE_DENOMINATOR: [f64; 8] = [
    1.050_750_071_644_416_843_24e-9,
    5.475_938_084_995_344_946_00e-4,
    1.519_866_656_361_645_719_66e-2,
    1.481_039_764_274_800_745_90e-1,
    6.897_673_349_851_000_045_50e-1,
    1.676_384_830_183_803_849_40e0,
    2.053_191_626_637_758_821_87e0,
    1.0,
];
const TAIL_NUMERATOR: [f64; 8] = [
    2.010_334_399_292_288_132_65e-7,
    2.711_555_568_743_487_578_15e-5,
    1.242_660_947_388_078_438_60e-3,
    2.653_218_952_657_612_309_30e-2,
    2.965_605_718_285_048_912_30e-1,
    1.784_826_539_917_291_335_80e0,
    5.463_784_911_164_114_369_90e0,
    6.657_904_643_501_103_777_20e0,
];
const TAIL_DENOMINATOR: [f64; 8] = [
    2.044_263_103_389_939_785_64e-15,
    1.421_511_758_316_445_888_70e-7,
    1.846_318_317_510_054_681_80e-5,
    7.868_691_311_456_132_591_00e-4,
    1.487_536_129_085_061_485_25e-2,
    1.369_298_809_227_358_053_10e-1,
    5.998_322_065_558_879_376_90e-1,
    1.0,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_percentage_points_are_met() {
        // The test values that Wichura's paper gives for PPND16.
        for (p, expected) in [
            (0.25, -0.674_489_750_196_081_7),
            (0.001, -3.090_232_306_167_813_5),
            (1e-20, -9.262_340_089_798_408),
        ] {
            assert!((inverse_cdf(p) / expected - 1.0).abs() < 1e-15, "{p}");
        }
        assert_eq!(inverse_cdf(0.5), 0.0);
    }

    #[test]
    fn another_implementation_agrees_in_every_region() {
        // As Python's statistics.NormalDist().inv_cdf has them.
        for (p, expected) in [
            (0.4, -0.253_347_103_135_799_8),
            (0.1, -1.281_551_565_544_600_8),
            (0.07, -1.475_791_028_179_170_2),
            (0.025, -1.959_963_984_540_053_8),
            (1e-6, -4.753_424_308_822_899),
            (2e-10, -6.254_027_707_160_142),
            (1e-12, -7.034_483_825_301_132),
            (f64::EPSILON / 4.0, -8.292_361_075_813_595),
        ] {
            assert!((inverse_cdf(p) / expected - 1.0).abs() < 5e-16, "{p}");
        }
    }

    proptest! {
        #[test]
        fn every_magnitude_has_a_finite_draw(bits in 0_u64..1 << 53) {
            let magnitude = bits as f64 / (1_u64 << 53) as f64;
            prop_assert!(inverse_cdf((1.0 - magnitude) / 2.0).is_finite());
        }

        #[test]
        fn it_rises_and_is_odd_around_one_half(p in 1e-12..0.499_f64) {
            prop_assert!(inverse_cdf(p) < inverse_cdf(p + 1e-3));
            prop_assert!((inverse_cdf(p) + inverse_cdf(1.0 - p)).abs() < 1e-3);
        }
    }
}
