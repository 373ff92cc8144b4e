-- To which topic the service is set, whatever the checkpoint is of; and the checkpoint as it was before
-- `bangfu republish` led it to a topic by another name, for the way back if that was a mistake.
-- depends: 0008_checkpoint_cluster

ALTER TABLE checkpoint ADD COLUMN wanted text NOT NULL DEFAULT '';  -- empty until a relay has been there
ALTER TABLE checkpoint ADD COLUMN former text NOT NULL DEFAULT '{}';  -- as JSON, by the other columns' names
