//! Orders of events that must not compile.

#[test]
fn illegal_sessions_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
