-- Scope and the tree: who sees a subject on which day, so that it follows from the facts alone.
-- A subject's rows follow from its holder by its own facts and from the tree as this service took
-- it in; for that the moves of the tree are numbered, dated, and placed between the own facts.
-- depends: 0003_api

ALTER TABLE reference
    ADD COLUMN move           bigint UNIQUE,  -- the how-manieth move of the tree, from 1
    ADD COLUMN moved_on       date,           -- the business day on which it was taken in
    ADD COLUMN after_position bigint,         -- facts up to here were scoped by the tree before it
    ADD CHECK ((move IS NULL) = (moved_on IS NULL) AND (move IS NULL) = (after_position IS NULL));

-- Brings the rows of known subjects to what holds from a day on: [{subject, from_day, organisations}],
-- the holder first. One way to write one history: what held for no day leaves no row, what never
-- ended stays one row, and a day before the last change counts as the day of that change.
CREATE FUNCTION move_scopes(p_items jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE items jsonb;
BEGIN
    SELECT jsonb_agg(jsonb_build_object(
               'subject', s.subject, 'organisations', s.organisations,
               'day', greatest(s.from_day, (SELECT max(coalesce(c.to_day, c.from_day)) FROM case_scope c
                                            WHERE c.subject = s.subject))))
        INTO items
        FROM jsonb_to_recordset(p_items) AS s(subject text, from_day date, organisations jsonb);
    DELETE FROM case_scope c
        USING jsonb_to_recordset(items) AS s(subject text, day date, organisations jsonb)
        WHERE c.subject = s.subject AND c.to_day IS NULL AND c.from_day = s.day
          AND NOT (s.organisations ? c.organisation AND c.holder = (s.organisations->>0 = c.organisation));
    UPDATE case_scope c SET to_day = s.day
        FROM jsonb_to_recordset(items) AS s(subject text, day date, organisations jsonb)
        WHERE c.subject = s.subject AND c.to_day IS NULL
          AND NOT (s.organisations ? c.organisation AND c.holder = (s.organisations->>0 = c.organisation));
    UPDATE case_scope c SET to_day = NULL
        FROM jsonb_to_recordset(items) AS s(subject text, day date, organisations jsonb)
        WHERE c.subject = s.subject AND c.to_day = s.day
          AND s.organisations ? c.organisation AND c.holder = (s.organisations->>0 = c.organisation);
    INSERT INTO case_scope (subject, organisation, holder, from_day)
        SELECT s.subject, o.organisation, o.ord = 1, s.day
        FROM jsonb_to_recordset(items) AS s(subject text, day date, organisations jsonb),
             jsonb_array_elements_text(s.organisations) WITH ORDINALITY AS o(organisation, ord)
        WHERE NOT EXISTS (SELECT FROM case_scope c WHERE c.subject = s.subject
                          AND c.organisation = o.organisation AND c.to_day IS NULL);
END $$;

-- The part of a write that says who sees what: reference rows, then what a moved tree brings along,
-- then the subjects that were given a holder. `tree` is how often the tree had moved when all this was
-- decided; who moves it is alone with it, who gives scope stands beside others who do.
CREATE FUNCTION write_scopes(p jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    known bigint := 0;
    drawn bigint;
    items jsonb;
BEGIN
    IF p ? 'rescopes' THEN
        LOCK TABLE reference IN EXCLUSIVE MODE;
    ELSIF p ? 'tree' THEN
        LOCK TABLE reference IN ROW SHARE MODE;
    END IF;
    IF p ? 'tree' THEN
        SELECT coalesce(max(r.move), 0) INTO known FROM reference r;
        IF known <> (p->>'tree')::bigint THEN
            RAISE EXCEPTION 'the tree moved' USING ERRCODE = 'BF004';
        END IF;
    END IF;
    IF p ? 'reference' THEN
        SELECT CASE WHEN is_called THEN last_value ELSE 0 END INTO drawn FROM facts_position_seq;
        INSERT INTO reference (kind, key, document, move, moved_on, after_position)
            SELECT n.kind, n.key, n.document,
                   CASE WHEN n.moves THEN known + count(*) FILTER (WHERE n.moves) OVER (ORDER BY n.ord) END,
                   CASE WHEN n.moves THEN (p->>'moved_on')::date END,
                   CASE WHEN n.moves THEN drawn END
            FROM ROWS FROM (jsonb_to_recordset(p->'reference')
                            AS (kind text, key text, document text, moves boolean))
                WITH ORDINALITY AS n(kind, key, document, moves, ord)
            WHERE NOT EXISTS (SELECT FROM reference r WHERE r.key = n.key)
            ORDER BY n.ord
            ON CONFLICT (key) DO NOTHING;  -- a reference row is one fact's copy: the same key is the same row
    END IF;
    IF p ? 'rescopes' THEN
        SELECT jsonb_agg(jsonb_build_object('subject', c.subject, 'from_day', p->'moved_on', 'organisations', r.list))
            INTO items
            FROM jsonb_array_elements(p->'rescopes') AS r(list)
            CROSS JOIN LATERAL (SELECT h.subject FROM case_scope h WHERE h.organisation = r.list->>0
                                AND h.holder AND h.to_day IS NULL OFFSET 0) AS c;
        IF items IS NOT NULL THEN
            PERFORM move_scopes(items);
        END IF;
    END IF;
    IF p ? 'scopes' THEN
        SELECT jsonb_agg(e.item) INTO items FROM jsonb_array_elements(p->'scopes') AS e(item)
            WHERE EXISTS (SELECT FROM case_scope c WHERE c.subject = e.item->>'subject');
        INSERT INTO case_scope (subject, organisation, holder, from_day)
            SELECT s.subject, o.organisation, o.ord = 1, s.from_day
            FROM jsonb_to_recordset(p->'scopes') AS s(subject text, from_day date, organisations jsonb),
                 jsonb_array_elements_text(s.organisations) WITH ORDINALITY AS o(organisation, ord)
            WHERE NOT EXISTS (SELECT FROM case_scope c WHERE c.subject = s.subject)
            ORDER BY 1, 2
            ON CONFLICT DO NOTHING;  -- who opens a stream at the same moment loses at its first fact
        IF items IS NOT NULL THEN
            PERFORM move_scopes(items);
        END IF;
    END IF;
END $$;
