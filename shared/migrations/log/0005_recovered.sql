-- What own streams had already taken in when their facts were taken back from Kafka after a restore:
-- the fact that caused them (version 0), and how far each heard stream of the case was taken in. The
-- watermarks were restored to an earlier moment, so these facts are heard again.
-- depends: 0002_write

CREATE TABLE recovered (
    stream  text    NOT NULL,
    cause   text    NOT NULL,
    version integer NOT NULL,
    PRIMARY KEY (stream, cause)
);
