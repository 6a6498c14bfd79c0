//! What is locked, by name.

use std::fmt::Write as _;

use tenure::Name;

/// The name of the lock on an account of customers.
pub fn account_lock(id: &str) -> String {
    lock("account:balance:", id)
}

/// The name of the lock on a wallet.
pub fn wallet_lock(id: &str) -> String {
    lock("wallet:withdraw:", id)
}

/// A name for any id: what a name may not have is written as `%XX`, and so is `%` itself, so that no two ids share a name. An id
/// that is too long for a name is told apart by its first bytes and a digest of all of them.
fn lock(prefix: &str, id: &str) -> String {
    let mut name = prefix.to_owned();
    for letter in id.chars() {
        if letter.is_control() || letter == '%' {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                write!(name, "%{byte:02X}").expect("a text takes what is written to it");
            }
        } else {
            name.push(letter);
        }
    }
    if name.len() <= Name::MAX_BYTES {
        return name;
    }
    // `%#` is in no other name: a `%` is always followed by two digits.
    let digest = format!("%#{}", uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, id.as_bytes()).simple());
    let mut end = Name::MAX_BYTES - digest.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name + &digest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_that_look_alike_have_names_of_their_own() {
        let long = "x".repeat(300);
        let ids = ["a", "%61", "a%", "a\n", "a%0A", "", "ü", &long, &format!("{long}y")];
        let names: std::collections::HashSet<String> = ids.iter().map(|id| account_lock(id)).collect();
        assert_eq!(names.len(), ids.len());
        assert_eq!(account_lock("42"), "account:balance:42");
    }

    proptest! {
        #[test]
        fn every_id_has_a_valid_name(id in any::<String>(), times in 1_usize..40) {
            prop_assert!(Name::new(account_lock(&id.repeat(times))).is_ok());
        }
    }
}
