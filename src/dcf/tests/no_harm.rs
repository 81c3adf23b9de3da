//! Whatever is done to endpoints through the C ABI, and whatever they are sent: `hostile` says what
//! has to hold.

mod hostile;

const LIVES: u64 = 2_000;
const STEPS: usize = 600;

#[test]
fn nothing_that_is_sent_or_asked_does_harm() {
    for life in 1..=LIVES {
        let mut state = life;
        let bytes: Vec<u8> = (0..STEPS)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as u8
            })
            .collect();
        let lived = std::panic::catch_unwind(|| hostile::run(&bytes));
        assert!(lived.is_ok(), "life {life}");
    }
}
