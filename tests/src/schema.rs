//! Every line that observer writes must be valid against the published schema.

use std::path::Path;

use anyhow::{Result, anyhow};
use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

/// The schema of the trace format.
pub struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    /// Reads `trace-v1.schema.json` from the documents; `None` while there is none.
    pub fn read(docs: &Path) -> Result<Option<Self>> {
        let path = docs.join("trace-v1.schema.json");
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path)?;
        Self::parse(serde_json::from_str(&text)?).map(Some)
    }

    fn parse(schema: Value) -> Result<Self> {
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        let name = "trace-v1.schema.json";
        compiler
            .add_resource(name, schema)
            .map_err(|error| anyhow!("{name}: {error}"))?;
        let index = compiler
            .compile(name, &mut schemas)
            .map_err(|error| anyhow!("{name}: {error}"))?;
        Ok(Self { schemas, index })
    }

    /// What is wrong with a line, if anything is.
    pub fn complaint(&self, line: &Value) -> Option<String> {
        let error = self.schemas.validate(line, self.index).err()?;
        Some(format!("{error:#}").replace('\n', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_against_the_schema_is_complained_about() {
        let schema = Schema::parse(json!({"type": "object", "required": ["kind"]})).expect("schema");
        assert_eq!(schema.complaint(&json!({"kind": "drop"})), None);
        assert!(schema.complaint(&json!({"knd": "drop"})).is_some());
    }
}
