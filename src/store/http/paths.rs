//! The paths of API v1 (servers 0.4.15 to 0.5.15, only read) and v2 (from 0.5.16), and their quirks.
//! Pure: knows no server and sends nothing.

/// Which of Chroma's APIs a server is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `/api/v1`, servers 0.4.15 to 0.5.15.
    V1,
    /// `/api/v2`, servers from 0.5.16.
    V2,
}

/// One database of a server, in the API that the server speaks.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) dialect: Dialect,
    pub(super) tenant: String,
    pub(super) database: String,
}

/// A path below the server's URL, and its query. Nothing in it is encoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
}

impl Path {
    /// These segments, without a query.
    pub(super) fn of<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self { segments: segments.into_iter().map(str::to_owned).collect(), query: Vec::new() }
    }

    fn with(mut self, query: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.query.extend(query);
        self
    }
}

impl Root {
    /// Another database of the same tenant.
    pub(super) fn of(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    /// The tenant itself.
    pub(super) fn tenant(&self) -> Path {
        match self.dialect {
            Dialect::V1 => Path::of(["api", "v1", "tenants", &self.tenant]),
            Dialect::V2 => Path::of(["api", "v2", "tenants", &self.tenant]),
        }
    }

    /// The list of the tenant's databases from this one on, at most `limit`; v2 only, and only from 0.6 on.
    pub(super) fn databases(&self, offset: usize, limit: usize) -> Path {
        let path = Path::of(["api", "v2", "tenants", &self.tenant, "databases"]);
        path.with([("limit", limit.to_string()), ("offset", offset.to_string())])
    }

    /// The list of collections.
    ///
    /// v1 has no limit there: with `limit` alone, 0.4.24 answers 500, and without it everything comes (measured).
    pub(super) fn collections(&self) -> Path {
        match self.dialect {
            Dialect::V1 => {
                let place = [("tenant", self.tenant.clone()), ("database", self.database.clone())];
                Path::of(["api", "v1", "collections"]).with(place)
            }
            Dialect::V2 => self.below(&["collections"]),
        }
    }

    /// The list of collections from this one on, at most `limit`; v2 only.
    pub(super) fn page(&self, offset: usize, limit: usize) -> Path {
        self.collections().with([("limit", limit.to_string()), ("offset", offset.to_string())])
    }

    /// The number of collections; v2 only.
    pub(super) fn collections_count(&self) -> Path {
        self.below(&["collections_count"])
    }

    /// What is done with one collection, by its UUID: `get`, `count`, `add`. In v1 the UUID alone finds it.
    pub(super) fn collection(&self, id: &str, verb: &str) -> Path {
        match self.dialect {
            Dialect::V1 => Path::of(["api", "v1", "collections", id, verb]),
            Dialect::V2 => self.below(&["collections", id, verb]),
        }
    }

    /// One collection itself, by its UUID; v2 only.
    pub(super) fn one(&self, id: &str) -> Path {
        self.below(&["collections", id])
    }

    /// The database itself.
    pub(super) fn database(&self) -> Path {
        match self.dialect {
            Dialect::V1 => Path::of(["api", "v1", "databases", &self.database]).with([("tenant", self.tenant.clone())]),
            Dialect::V2 => self.below(&[]),
        }
    }

    fn below(&self, rest: &[&str]) -> Path {
        let database = ["api", "v2", "tenants", &self.tenant, "databases", &self.database];
        Path::of(database.into_iter().chain(rest.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_has_its_paths() {
        let text = |path: Path| {
            let query: Vec<String> = path.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{}?{}", path.segments.join("/"), query.join("&"))
        };
        let place = |dialect| Root { dialect, tenant: "t".into(), database: "d".into() };
        let (v1, v2) = (place(Dialect::V1), place(Dialect::V2));
        for (path, expected) in [
            (v1.collections(), "api/v1/collections?tenant=t&database=d"),
            (v1.collection("c", "get"), "api/v1/collections/c/get?"),
            (v1.database(), "api/v1/databases/d?tenant=t"),
            (v2.collections(), "api/v2/tenants/t/databases/d/collections?"),
            (v2.page(7, 100), "api/v2/tenants/t/databases/d/collections?limit=100&offset=7"),
            (v2.collections_count(), "api/v2/tenants/t/databases/d/collections_count?"),
            (v2.collection("c", "add"), "api/v2/tenants/t/databases/d/collections/c/add?"),
            (v2.database(), "api/v2/tenants/t/databases/d?"),
            (v2.of("e").database(), "api/v2/tenants/t/databases/e?"),
            (v1.tenant(), "api/v1/tenants/t?"),
            (v2.tenant(), "api/v2/tenants/t?"),
            (v2.databases(7, 100), "api/v2/tenants/t/databases?limit=100&offset=7"),
        ] {
            assert_eq!(text(path), expected);
        }
    }
}
