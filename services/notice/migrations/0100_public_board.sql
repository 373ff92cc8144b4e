-- What everybody may see: standing notices, and nothing else of this schema. The name in a document
-- is sealed; the service shows a mask.
-- depends: 0003_api

CREATE INDEX standing_notices ON views (key) WHERE model = 'notice' AND status = 'standing';

CREATE FUNCTION public_notices(p_place text, p_organisation text, p_after text, p_limit integer)
RETURNS TABLE (document text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT v.document FROM views v
    WHERE v.model = 'notice' AND v.status = 'standing'
      AND (p_place = '' OR v.role = p_place)
      AND (p_organisation = '' OR v.organisation = p_organisation)
      AND v.key > p_after
    ORDER BY v.key LIMIT least(p_limit, 200)
$$;

CREATE FUNCTION public_notice(p_notice_id text) RETURNS TABLE (document text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT v.document FROM views v
    WHERE v.model = 'notice' AND v.status = 'standing' AND v.key = p_notice_id
$$;

GRANT EXECUTE ON FUNCTION
    public_notices(text, text, text, integer), public_notice(text) TO ${api};
