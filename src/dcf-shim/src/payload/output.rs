//! What a task has put out, in parts or so far: what another attempt resumes after.

use super::protobuf::{
    put_bytes_field, put_varint, put_varint_field, take_varint, Field, Fields, Found,
};
use super::{is_json, json};

/// Where a message of the schema has an output's fields.
struct Numbers {
    tokens: u64,
    text: u64,
    index: u64,
    model: u64,
    /// 0 where there is none.
    started_over: u64,
}

const RESULT: Numbers = Numbers { tokens: 9, text: 8, index: 2, model: 17, started_over: 18 };
const RESUME: Numbers = Numbers { tokens: 1, text: 2, index: 3, model: 4, started_over: 0 };

/// Output of a result part, with that part's index; or of all parts so far, with the index of the
/// part that follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub tokens: Vec<u32>,
    pub text: String,
    pub index: u32,
    /// The ModelIdentity of the model that made it, as it came: encoded, or JSON. Empty if unknown.
    pub model: Vec<u8>,
    /// The parts before this one are void: another model has begun again.
    pub started_over: bool,
}

impl Output {
    /// Bytes of memory that it uses.
    pub fn size(&self) -> usize {
        self.text.len() + size_of::<u32>() * self.tokens.len() + self.model.len()
    }

    /// Adds the next part.
    pub fn add(&mut self, part: &Output) {
        if part.started_over {
            *self = Self { index: self.index, ..Self::default() };
        }
        self.tokens.extend_from_slice(&part.tokens);
        self.text.push_str(&part.text);
        if !part.model.is_empty() {
            self.model.clone_from(&part.model);
        }
        self.index = self.index.wrapping_add(1); // a client may begin anywhere
    }

    /// Reads that of a Result's Protocol Buffers.
    pub(super) fn of_result(message: &[u8]) -> Self {
        Self::read(message, &RESULT)
    }

    /// Reads that of a Resume's Protocol Buffers.
    pub(super) fn of_resume(message: &[u8]) -> Self {
        Self::read(message, &RESUME)
    }

    fn read(message: &[u8], numbers: &Numbers) -> Self {
        let mut output = Self::default();
        for Field { number, value, .. } in Fields(message).flatten() {
            match value {
                Found::Varint(token) if number == numbers.tokens => {
                    output.tokens.push(token as u32)
                }
                Found::Varint(value) if number == numbers.index => output.index = value as u32,
                Found::Varint(value) if number == numbers.started_over => {
                    output.started_over = value != 0;
                }
                Found::Bytes(mut packed) if number == numbers.tokens => {
                    while let Some(token) = take_varint(&mut packed) {
                        output.tokens.push(token as u32);
                    }
                }
                Found::Bytes(bytes) if number == numbers.text => {
                    output.text = String::from_utf8_lossy(bytes).into_owned();
                }
                Found::Bytes(bytes) if number == numbers.model => output.model = bytes.to_vec(),
                _ => {}
            }
        }
        output
    }

    /// Reads that of a Result or a Resume in JSON.
    pub(super) fn of_json(object: &[u8]) -> serde_json::Result<Self> {
        let mut output = Self::default();
        let mut lists = Ok(());
        json::each_member(object, |name, value| match name {
            "tokens" if value.starts_with('[') => {
                let tokens = &mut output.tokens;
                let add = |item: &str| tokens.extend(json::number(item).map(|token| token as u32));
                lists = json::each_item(value, add);
            }
            "text" => output.text = serde_json::from_str(value).unwrap_or_default(),
            "index" => output.index = json::number(value).unwrap_or(0) as u32,
            "model" if is_json(value.as_bytes()) => output.model = value.into(),
            "started_over" | "startedOver" => output.started_over = value == "true",
            _ => {}
        })?;
        lists.map(|()| output)
    }

    /// The Resume for another attempt, in Protocol Buffers.
    pub(super) fn to_protobuf(&self) -> Vec<u8> {
        let (mut packed, mut resume) = (Vec::new(), Vec::new());
        self.tokens.iter().for_each(|token| put_varint(&mut packed, (*token).into()));
        put_bytes_field(&mut resume, RESUME.tokens, &packed);
        put_bytes_field(&mut resume, RESUME.text, self.text.as_bytes());
        put_varint_field(&mut resume, RESUME.index, self.index.into());
        if !self.model.is_empty() && !is_json(&self.model) {
            put_bytes_field(&mut resume, RESUME.model, &self.model);
        }
        resume
    }

    /// The Resume for another attempt, in JSON.
    pub(super) fn to_json(&self) -> String {
        let resume =
            serde_json::json!({"tokens": self.tokens, "text": self.text, "index": self.index});
        let mut text = resume.to_string();
        if let Some(model) = std::str::from_utf8(&self.model).ok().filter(|_| is_json(&self.model))
        {
            text.pop();
            text += &format!(",\"model\":{model}}}");
        }
        text
    }
}
