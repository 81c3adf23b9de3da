//! Whatever is said about paths, and whatever becomes of links: `hostile_paths` says what has to hold.

mod hostile_paths;

const LIVES: u64 = 2_000;
const STEPS: usize = 1_000;

#[test]
fn nothing_that_is_said_about_paths_does_harm() {
    let mut paths = 0;
    for life in 1..=LIVES {
        let mut state = life;
        let bytes: Vec<u8> = (0..STEPS)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as u8
            })
            .collect();
        let lived = std::panic::catch_unwind(|| hostile_paths::run(&bytes));
        paths += lived.unwrap_or_else(|_| panic!("life {life}"));
    }
    assert!(paths > 50, "{paths} paths came up: too few to show anything");
}
