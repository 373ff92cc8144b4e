-- A batch looks at its payouts, the bank at what it was told to pay, by the name that it knows.
-- depends: log/0005_office

CREATE OR REPLACE FUNCTION office_documents() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY['payout', 'end_to_end'] $$;

-- No office instructs the bank: that follows from a released batch, which the service hears.
CREATE OR REPLACE FUNCTION office_own(rows jsonb, p_ids text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT NOT EXISTS (SELECT FROM jsonb_array_elements(rows) AS r(item)
                       WHERE (r.item->>'kind' = 'posting' AND r.item->>'fact_id' = ANY (p_ids)) IS NOT TRUE)
$$;
