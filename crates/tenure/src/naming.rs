//! The convention for names, as a lint: what it has to say of a [`Name`]. Nothing refuses a name for it.

use std::fmt;

use crate::name::Name;

/// Names have fewer characters than this, so that they can be read in a list.
const LONG: usize = 100;

/// Something that a [`Name`] has against the convention: `{entity}:{operation}:{id}`, in lower case, under 100 characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Advice {
    /// It is one word, or has an empty part: `orders`, `order::42`.
    Shape,
    /// It has capital letters, and names are compared byte for byte.
    Case,
    /// It has spaces, which are easily lost and hardly seen.
    Space,
    /// It has 100 characters or more.
    Length,
    /// It has an `@`, as the address of a person, and names stand in logs and lists.
    Address,
}

impl Name {
    /// What the convention has to say against the name; nothing of one that follows it.
    ///
    /// For tests and reviews: stores take every name. `docs/guide.md` has the reasons.
    ///
    /// ```
    /// use tenure::Name;
    /// use tenure::name::Advice;
    ///
    /// assert_eq!(Name::new("order:process:42")?.advice().count(), 0);
    /// assert!(Name::new("Order:process:42")?.advice().eq([Advice::Case]));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn advice(&self) -> impl Iterator<Item = Advice> {
        let name = self.as_str();
        let parts = name.split(':');
        let is_shapeless = parts.clone().count() < 2 || parts.into_iter().any(str::is_empty);
        let found = [
            (Advice::Shape, is_shapeless),
            (Advice::Case, name.chars().any(char::is_uppercase)),
            (Advice::Space, name.chars().any(char::is_whitespace)),
            (Advice::Length, name.chars().count() >= LONG),
            (Advice::Address, name.contains('@')),
        ];
        found.into_iter().filter_map(|(advice, applies)| applies.then_some(advice))
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Advice::Shape => "name it {entity}:{operation}:{id}, or {entity}:{operation} where there is one",
            Advice::Case => "use lower case: names are compared byte for byte",
            Advice::Space => "use no spaces: they are easily lost and hardly seen",
            Advice::Length => "use fewer than 100 characters: people read it in lists",
            Advice::Address => "use an id for a person's address: names stand in logs and lists",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_follow_the_convention_get_no_advice() {
        let id = "x".repeat(99 - "order:process:".len());
        for name in
            ["order:process:42", "job:settle", "a:b:c:d", "straße:räumen:7", &format!("order:process:{id}")]
        {
            assert_eq!(Name::new(name).unwrap().advice().collect::<Vec<_>>(), [], "{name}");
        }
    }

    #[test]
    fn each_departure_from_the_convention_gets_its_advice() {
        let long = format!("order:process:{}", "ä".repeat(86));
        for (name, advice) in [
            ("orders", &[Advice::Shape][..]),
            ("order::42", &[Advice::Shape]),
            (":order", &[Advice::Shape]),
            ("order:", &[Advice::Shape]),
            ("order:Process:42", &[Advice::Case]),
            ("order:Ämter", &[Advice::Case]),
            ("order:process:4 2", &[Advice::Space]),
            (&long, &[Advice::Length]),
            ("user:login:me@example.com", &[Advice::Address]),
            ("All Orders", &[Advice::Shape, Advice::Case, Advice::Space]),
        ] {
            assert_eq!(Name::new(name).unwrap().advice().collect::<Vec<_>>(), advice, "{name}");
        }
    }
}
