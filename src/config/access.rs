//! Finding directives by name, and reading and changing settings through them: CONFIG GET, CONFIG
//! SET, files, flags and environment all pass here.

use super::error::SettingError;
use super::inert::{Class, INERT, Inert};
use super::settings::{Live, Outcome, Phase, Settings};
use super::table::{DIRECTIVES, Directive};
use super::value::Kind;
use crate::glob;

impl Settings {
    /// The value of `directive` as CONFIG GET shows it: bytes as a number, flags as yes and no.
    /// `None` for a name nobody knows.
    #[must_use]
    pub fn get(&self, directive: &str) -> Option<String> {
        match row(directive)? {
            Row::Real(directive) => Some(directive.field.get(self)),
            Row::Inert(inert) => self.inert_value(inert).map(str::to_owned),
        }
    }

    /// Sets `directive` to `words`; a directive of several words takes them as one text, too.
    ///
    /// Only the value itself is checked: call [`Self::validate`] after the last change.
    ///
    /// # Errors
    /// An unknown name, a bad value, a directive that cannot be set in this phase, or a feature
    /// this server does not have. The settings are then as before.
    pub fn set(
        &mut self,
        directive: &str,
        words: &[&str],
        phase: Phase,
    ) -> Result<Outcome, SettingError> {
        match row(directive).ok_or(SettingError::Unknown)? {
            Row::Real(directive) => self.set_real(directive, words, phase),
            Row::Inert(inert) => self.set_inert(inert, words, phase),
        }
    }

    fn set_real(
        &mut self,
        directive: &Directive,
        words: &[&str],
        phase: Phase,
    ) -> Result<Outcome, SettingError> {
        may_set(directive.live, phase)?;
        let before = directive.field.get(self);
        directive.field.set(self, words, phase)?;
        let changed = directive.field.get(self) != before;
        Ok(if changed {
            Outcome::Changed
        } else {
            Outcome::Unchanged
        })
    }

    fn set_inert(
        &mut self,
        inert: &'static Inert,
        words: &[&str],
        phase: Phase,
    ) -> Result<Outcome, SettingError> {
        if inert.value.is_none() && phase == Phase::Live {
            return Err(SettingError::Unknown);
        }
        may_set(inert.live, phase)?;
        let value = inert.canonical(words)?;
        match inert.class {
            Class::Tuning => {
                let warning = format!("{} is accepted without effect: {}", inert.name, inert.why);
                self.tuned.insert(inert.name, value);
                Ok(Outcome::Ignored(warning))
            }
            _ if inert.value == Some(value.as_str()) => Ok(Outcome::Unchanged),
            Class::Absent if phase == Phase::Start => Ok(Outcome::Ignored(format!(
                "{} {value} has no effect: {}",
                inert.name, inert.why
            ))),
            Class::Absent | Class::Refused => {
                let reason = format!("{} is not supported: {}", inert.name, inert.why);
                Err(SettingError::Unsupported(reason))
            }
        }
    }

    fn inert_value(&self, inert: &Inert) -> Option<&str> {
        let tuned = self.tuned.get(inert.name).map(String::as_str);
        inert.value.map(|default| tuned.unwrap_or(default))
    }

    /// Takes over the knobs without effect that differ between two readings of the configuration.
    pub(super) fn retune(&mut self, before: &Self, after: &Self) {
        for inert in INERT {
            let value = after.tuned.get(inert.name);
            if value == before.tuned.get(inert.name) {
                continue;
            }
            match value {
                Some(value) => self.tuned.insert(inert.name, value.clone()),
                None => self.tuned.remove(inert.name),
            };
        }
    }

    /// CONFIG SET: all of `pairs` or none. Answers the new settings, valid as a whole, and what
    /// deserves a line in the log.
    ///
    /// # Errors
    /// The first pair that cannot be set, with the name to blame as Redis words it: see
    /// [`SettingError::reply`]. `self` is untouched in any case.
    pub fn set_many(
        &self,
        pairs: &[(&[u8], &[u8])],
    ) -> Result<(Self, Vec<String>), (String, SettingError)> {
        let mut rows: Vec<(&'static str, &[u8])> = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let asked = String::from_utf8_lossy(name);
            let blame = |error| (asked.clone().into_owned(), error);
            let found = row(&asked)
                .filter(Row::is_config)
                .ok_or(SettingError::Unknown);
            let found = found.map_err(blame)?;
            may_set(found.live(), Phase::Live).map_err(blame)?;
            let name = found.name_asked(&asked);
            if rows.iter().any(|(other, _)| *other == name) {
                return Err(blame(SettingError::Duplicate));
            }
            rows.push((name, value));
        }
        let mut next = self.clone();
        let mut warnings = Vec::new();
        for (name, value) in rows {
            let word = std::str::from_utf8(value)
                .map_err(|_| SettingError::Value("argument must be valid UTF-8".to_owned()));
            let outcome = word.and_then(|word| next.set(name, &[word], Phase::Live));
            match outcome.map_err(|error| (name.to_owned(), error))? {
                Outcome::Ignored(warning) => warnings.push(warning),
                Outcome::Changed | Outcome::Unchanged => {}
            }
        }
        next.validate().map_err(|error| match &error {
            SettingError::Conflict { directive, .. } => ((*directive).to_owned(), error),
            _ => (String::new(), error),
        })?;
        Ok((next, warnings))
    }

    /// CONFIG GET: every directive that one of `globs` matches, in any case, at most once, with
    /// its value. A name asked for without wildcards comes back spelled as it was asked, as in
    /// Redis.
    #[must_use]
    pub fn matching(&self, globs: &[&[u8]]) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for pattern in globs {
            let asked = std::str::from_utf8(pattern).ok();
            let exact = !pattern.iter().any(|byte| b"*?[".contains(byte));
            let spelled = |name: &&str| match asked {
                Some(asked) if exact => asked.eq_ignore_ascii_case(name),
                _ => !exact && glob::matches_ignore_case(pattern, name.as_bytes()),
            };
            for name in names().iter().filter(|name| spelled(name)) {
                let name = asked.filter(|_| exact).unwrap_or(name);
                let known = found
                    .iter()
                    .any(|(other, _)| other.eq_ignore_ascii_case(name));
                if let Some(value) = self.get(name).filter(|_| !known) {
                    found.push((name.to_owned(), value));
                }
            }
        }
        found
    }
}

/// Whether a directive of this liveness can be set in this phase.
fn may_set(live: Live, phase: Phase) -> Result<(), SettingError> {
    match (live, phase) {
        (Live::Start, Phase::Live) => Err(SettingError::Immutable),
        (Live::Protected, Phase::Live) => Err(SettingError::Protected),
        _ => Ok(()),
    }
}

/// A row of either table.
#[derive(Clone, Copy)]
pub(super) enum Row {
    Real(&'static Directive),
    Inert(&'static Inert),
}

impl Row {
    /// Whether CONFIG GET and CONFIG SET know it, not only files.
    pub(super) fn is_config(&self) -> bool {
        match self {
            Self::Real(_) => true,
            Self::Inert(inert) => inert.value.is_some(),
        }
    }

    pub(super) fn live(&self) -> Live {
        match self {
            Self::Real(directive) => directive.live,
            Self::Inert(inert) => inert.live,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Real(directive) => directive.kind(),
            Self::Inert(inert) => inert.kind,
        }
    }

    /// Of its name and its alias, the one that was asked for.
    pub(super) fn name_asked(&self, asked: &str) -> &'static str {
        match self {
            Self::Real(directive) => directive.name,
            Self::Inert(Inert {
                alias: Some(alias), ..
            }) if alias.eq_ignore_ascii_case(asked) => alias,
            Self::Inert(inert) => inert.name,
        }
    }
}

/// The row of `name`, an alias of it, or either in other case.
pub(super) fn row(name: &str) -> Option<Row> {
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    let real = DIRECTIVES
        .iter()
        .find(|directive| is(directive.name))
        .map(Row::Real);
    real.or_else(|| {
        let inert = INERT
            .iter()
            .find(|inert| is(inert.name) || inert.alias.is_some_and(is));
        inert.map(Row::Inert)
    })
}

/// Every name CONFIG GET knows, sorted.
pub(super) fn names() -> Vec<&'static str> {
    let inert = INERT.iter().filter(|inert| inert.value.is_some());
    let inert = inert
        .flat_map(|inert| [Some(inert.name), inert.alias])
        .flatten();
    let real = DIRECTIVES.iter().map(|directive| directive.name);
    let mut names: Vec<_> = real.chain(inert).collect();
    names.sort_unstable();
    names
}
