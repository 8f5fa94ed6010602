//! The methods that add payloads, written once for a message that is sent and for a reply.

/// Declares the payload methods of a type that has `add(self, Result<Part, PayloadError>)` and `add_file(self, Part)`.
macro_rules! payload_methods {
    () => {
        /// Adds text
        pub fn text(self, name: impl Into<String>, text: impl Into<String>) -> Self {
            self.value(name, Value::Text(text.into()), PayloadType::Text)
        }

        /// Adds a dictionary: anything that serialises as JSON
        pub fn dictionary(self, name: impl Into<String>, dictionary: impl Serialize) -> Self {
            self.add(Part::serialize(name.into(), PayloadType::Dictionary, &dictionary))
        }

        /// Adds rows as a jsontable: anything that serialises as an array of objects
        pub fn rows(self, name: impl Into<String>, rows: impl Serialize) -> Self {
            self.add(Part::serialize(name.into(), PayloadType::JsonTable, &rows))
        }

        /// Adds an Arrow table
        #[cfg(feature = "arrow")]
        pub fn table(self, name: impl Into<String>, table: impl Into<natsbridge_core::Table>) -> Self {
            self.value(name, Value::Table(table.into()), PayloadType::ArrowTable)
        }

        /// Adds an image's bytes
        pub fn image(self, name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
            self.part(Part::from_source(name.into(), PayloadType::Image, bytes.into()))
        }

        /// Adds a sound's bytes
        pub fn audio(self, name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
            self.part(Part::from_source(name.into(), PayloadType::Audio, bytes.into()))
        }

        /// Adds a video's bytes
        pub fn video(self, name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
            self.part(Part::from_source(name.into(), PayloadType::Video, bytes.into()))
        }

        /// Adds bytes
        pub fn binary(self, name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
            self.part(Part::from_source(name.into(), PayloadType::Binary, bytes.into()))
        }

        /// Adds a file that holds the serialised payload
        ///
        /// It is read when the message is sent, and streamed when it is large.
        pub fn file(self, name: impl Into<String>, path: impl Into<PathBuf>, payload_type: PayloadType) -> Self {
            // Its length is looked up when it is sent.
            self.add_file(Part::from_file(name.into(), payload_type, path, 0))
        }

        /// Adds a value of any payload type
        pub fn value(self, name: impl Into<String>, value: impl Into<Value>, payload_type: PayloadType) -> Self {
            self.add(Part::new(name.into(), payload_type, value))
        }

        /// Adds a part that is serialised already
        pub fn part(self, part: Part) -> Self {
            self.add(Ok(part))
        }

        /// Adds a payload by name, data and type, as [`smartsend`](crate::smartsend) takes them
        pub fn data(self, name: impl Into<String>, data: impl Into<Data>, payload_type: PayloadType) -> Self {
            match data.into() {
                Data::Value(value) => self.value(name, value, payload_type),
                Data::File(path) => self.file(name, path, payload_type),
                Data::Serialized(source) => self.part(Part::from_source(name.into(), payload_type, source)),
            }
        }
    };
}

pub(crate) use payload_methods;
