//! Every backend against curve25519-dalek's ladder, in every lane.

use proptest::prelude::*;

use super::*;

const BASE: Point = {
    let mut base = [0; 32];
    base[0] = 9;
    base
};

#[test]
fn rfc_7748_first_iteration() {
    let expected = [
        0x42, 0x2c, 0x8e, 0x7a, 0x62, 0x27, 0xd7, 0xbc, 0xa1, 0x35, 0x0b, 0x3e, 0x2b, 0xb7, 0x27,
        0x9f, 0x78, 0x97, 0xb8, 0x7b, 0xb6, 0x85, 0x4b, 0x78, 0x3c, 0x60, 0xe8, 0x03, 0x11, 0xae,
        0x30, 0x79,
    ];
    assert_eq!(backend().mul(&clamp(BASE), &BASE), expected);
    assert_eq!(backend().mul_base_clamped(&clamp(BASE)), expected);
}

#[test]
fn small_integers_are_not_clamped() {
    let mut one = [0; 32];
    one[0] = 1;
    assert_eq!(backend().mul(&one, &BASE), BASE);
    assert_eq!(backend().mul(&[0; 32], &BASE), [0; 32]);
}

#[test]
fn top_bit_of_a_point_is_ignored() {
    let integer = clamp([0x5a; 32]);
    let mut marked = BASE;
    marked[31] |= 0x80;
    assert_eq!(
        backend().mul(&integer, &marked),
        backend().mul(&integer, &BASE)
    );
}

#[test]
fn results_are_canonical() {
    // 2^255 − 19 + 1, a second encoding of 1, a point of order 4.
    let mut second_one = [0xff; 32];
    second_one[0] = 0xee;
    second_one[31] = 0x7f;
    let mut one = [0; 32];
    one[0] = 1;
    assert_eq!(backend().mul(&one, &second_one), one);
}

#[test]
fn products_modulo_the_order_are_products_of_the_points() {
    let (a, b) = (reduce(&[0xa7; 32]), reduce(&[0x3c; 32]));
    let at_once = backend().mul(&mul_mod_order(&a, &b), &BASE);
    let one_by_one = backend().mul(&a, &backend().mul(&b, &BASE));
    assert_eq!(at_once, one_by_one);
}

/// The inputs where implementations differ: zero, small orders on the curve and its twist, names at
/// and above p, a set bit 255, the edges of the range.
fn peculiar_points() -> Vec<Point> {
    let mut points = vec![[0; 32], [0xff; 32], BASE];
    // 0, 1 and p − 1 have orders 2, 4 and 4; then names above p of small numbers.
    for low in [1, 2, 3, 8] {
        let mut point = [0; 32];
        point[0] = low;
        points.push(point);
    }
    for low in [0xeb, 0xec, 0xed, 0xee, 0xef, 0xf6, 0xff] {
        let mut point = [0xff; 32];
        point[0] = low;
        points.push(point);
        point[31] = 0x7f;
        points.push(point);
    }
    // The two of order 8.
    points.push([
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ]);
    points.push([
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ]);
    points
}

/// 0, 1, 2, 8, multiples of ℓ and their neighbours, and the edges of the range.
fn peculiar_integers() -> Vec<Integer> {
    let mut integers = Vec::new();
    for low in [0, 1, 2, 3, 8] {
        let mut integer = [0; 32];
        integer[0] = low;
        integers.push(integer);
    }
    // ℓ = 2^252 + 27742317777372353535851937790883648493.
    let mut order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    integers.push(order);
    order[0] += 1;
    integers.push(order);
    order[0] -= 2;
    integers.push(order);
    let mut largest = [0xff; 32];
    largest[31] = 0x7f;
    integers.push(largest);
    largest[0] = 0;
    integers.push(largest);
    integers.push(clamp([0; 32]));
    integers.push(clamp([0xff; 32]));
    integers
}

fn point() -> impl Strategy<Value = Point> {
    prop_oneof![any::<Point>(), prop::sample::select(peculiar_points())]
}

fn integer() -> impl Strategy<Value = Integer> {
    let any = any::<Integer>().prop_map(|mut integer| {
        integer[31] &= 0x7f;
        integer
    });
    prop_oneof![any, prop::sample::select(peculiar_integers())]
}

/// Checks a batch with every backend, whole and one by one.
fn check(integers: &[Integer], points: &[Point]) -> Result<(), TestCaseError> {
    let expected: Vec<Point> = integers
        .iter()
        .zip(points)
        .map(|(integer, point)| portable_mul(integer, point))
        .collect();
    for backend in Backend::available() {
        let mut products = vec![[0xaa; 32]; integers.len()];
        backend.mul_many(integers, points, &mut products);
        prop_assert_eq!(&products, &expected, "{} together", backend);
        check_combs(backend, integers, points, &expected)?;
        for ((integer, point), expected) in integers.iter().zip(points).zip(&expected) {
            prop_assert_eq!(backend.mul(integer, point), *expected, "{} alone", backend);
            let comb = backend.comb(point);
            prop_assert_eq!(comb.mul(integer), *expected, "{} comb", backend);
        }
    }
    Ok(())
}

/// Checks combs of as many points as go together, and of each of their numbers from one on.
fn check_combs(
    backend: Backend,
    integers: &[Integer],
    points: &[Point],
    expected: &[Point],
) -> Result<(), TestCaseError> {
    let Some(together) = backend.combs_together() else {
        prop_assert!(backend.combs().is_none());
        return Ok(());
    };
    let groups = integers
        .chunks(*together.end())
        .zip(points.chunks(*together.end()));
    for ((integers, points), expected) in groups.zip(expected.chunks(*together.end())) {
        let on_curve: Vec<_> = points
            .iter()
            .map(|point| on_edwards_curve(point).is_some())
            .collect();
        let mut combs = backend.combs().unwrap();
        let alone: Vec<_> = points.iter().map(|point| backend.comb(point)).collect();
        let alone: Vec<_> = alone.iter().collect();
        for prepare in [
            &|combs: &mut Combs| combs.prepare(points),
            &|combs: &mut Combs| combs.put(&alone),
        ] as [&dyn Fn(&mut Combs) -> bool; 2]
        {
            let prepared = prepare(&mut combs);
            prop_assert_eq!(prepared, on_curve.iter().all(|on| *on), "{}", backend);
            if prepared {
                let mut products = vec![[0xaa; 32]; points.len()];
                combs.mul(integers, &mut products);
                prop_assert_eq!(&products, expected, "{} combs", backend);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batches_of_any_size_are_what_dalek_computes(
        pairs in prop::collection::vec((integer(), point()), 0..20),
    ) {
        let (integers, points): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        check(&integers, &points)?;
    }
}

#[test]
fn peculiar_inputs_in_every_lane_are_what_dalek_computes() {
    let integers = peculiar_integers();
    for point in peculiar_points() {
        // 12 integers fill eight lanes and four; the next point meets them in the same order.
        check(&integers, &vec![point; integers.len()]).unwrap();
    }
    for rotation in 0..8 {
        let mut points = peculiar_points();
        points.truncate(16);
        points.rotate_left(rotation);
        let mut integers = [[0x5a; 32]; 16];
        integers[rotation] = [0; 32];
        check(&integers, &points).unwrap();
    }
}

#[test]
fn combs_of_any_number_of_points_on_the_curve_are_what_dalek_computes() {
    // Of random integers' multiples of the base point, all are on the curve.
    let points: Vec<Point> = (1..=8).map(|low| portable_mul(&[low; 32], &BASE)).collect();
    let mut integers = peculiar_integers();
    integers.extend((0..=255).step_by(5).map(|byte| reduce(&[byte; 32])));
    for integers in integers.windows(8) {
        for count in 1..=8 {
            check(&integers[..count], &points[8 - count..]).unwrap();
        }
    }
}

#[test]
fn nothing_and_too_many_points_have_no_combs() {
    for backend in Backend::available() {
        let comb = backend.comb(&BASE);
        let Some(mut combs) = backend.combs() else {
            continue;
        };
        for count in [0, 9] {
            assert!(!combs.prepare(&vec![BASE; count]));
            assert!(!combs.put(&vec![&comb; count]));
        }
    }
}

#[test]
fn lanes_do_not_touch_each_other() {
    let (mut integers, points) = ([[0x35; 32]; 8], [BASE; 8]);
    for lane in 0..8 {
        integers[lane] = [0; 32];
        check(&integers, &points).unwrap();
        integers[lane] = [0x35; 32];
    }
}

#[test]
fn environment_names_an_available_backend() {
    let expected = match env::var(BACKEND_VARIABLE) {
        Ok(name) if !name.is_empty() => name,
        _ => Backend::best().name().into(),
    };
    assert_eq!(Backend::current().map(Backend::name), Ok(&*expected));
}

#[test]
fn unknown_backend_is_an_error() {
    let error = Backend::by_name("sse2").unwrap_err();
    assert_eq!(
        error.to_string(),
        "SPHINX_BACKEND must be portable, scalar, avx2x4 or ifma8, not sse2"
    );
}
