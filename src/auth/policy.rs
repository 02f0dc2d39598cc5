//! What it takes to use a route.

/// The policy of a route; `net::routes` states one for every route there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anyone.
    Public,
    /// A client that `Guard::check` lets in.
    Authenticated,
    /// The operator: whoever reaches the operator's listener on loopback, a principal with the `admin` scope elsewhere.
    Admin,
}
