-- On which Kafka the topic of the checkpoint is, by its cluster id: whoever sets it back under another
-- address than the services' would otherwise lead a healthy relay away from its own.
-- depends: 0007_checkpoint_topic

ALTER TABLE checkpoint ADD COLUMN cluster text NOT NULL DEFAULT '';  -- empty until a relay has been there
