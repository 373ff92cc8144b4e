-- Which topic the checkpoint is of, by its name: whoever sets it back by hand with another prefix than
-- the services' would otherwise make a second topic, and lead a healthy relay away from its own.
-- depends: 0006_each

ALTER TABLE checkpoint ADD COLUMN topic text NOT NULL DEFAULT '';  -- empty until a relay has been there
