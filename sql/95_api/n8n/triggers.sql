-- kind: code
-- Translates n8n's triggers and the node that answers a webhook. For what the functions return see
-- branches.sql. Writes and locks nothing.

-- `item` is the template of the transform after the trigger; it makes n8n's item of the request.
create or replace function private.n8n_webhook(p_parameters jsonb, p_path text[])
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'type', 'webhookTrigger', 'ports', '["main"]'::jsonb,
    'properties', jsonb_build_object(
      'path', '/' || btrim(coalesce(p_parameters ->> 'path', ''), '/'),
      'method', case jsonb_typeof(p_parameters -> 'httpMethod')
        when 'array' then p_parameters -> 'httpMethod'
        else to_jsonb(upper(coalesce(p_parameters ->> 'httpMethod', 'GET') collate "C"))
      end,
      'respond', case m.mode
        when 'lastNode' then 'lastNode' when 'responseNode' then 'respondNode' else 'immediately'
      end
    ),
    'item', '{"template": {
      "headers": "{{ $.input.headers }}", "params": "{{ $.input.params }}", "query": "{{ $.input.query }}",
      "body": "{{ $.input.body }}"
    }}'::jsonb,
    'problems', case
      when m.mode in ('lastNode', 'responseNode') then '[]'
      else jsonb_build_array(private.n8n_problem(
        p_path || '{responseMode}'::text[],
        'the answer is 202 with the id of the run, where n8n answers 200 with a message'
      ))
    end
  )
  from (values (coalesce(p_parameters ->> 'responseMode', 'onReceived'))) as m (mode)
$$;

-- One interval of a schedule as {"cron"} or {"every"}; null when neither means the same.
create or replace function private.n8n_interval(p_interval jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_field constant text := coalesce(p_interval ->> 'field', 'days');
  v_count constant text := coalesce(
    p_interval ->> (v_field || 'Interval'),
    case v_field when 'seconds' then '30' when 'minutes' then '5' else '1' end
  );
  v_minute constant text := coalesce(p_interval ->> 'triggerAtMinute', '0');
  v_hour constant text := coalesce(p_interval ->> 'triggerAtHour', '0');
  v_days constant text := coalesce((
    select string_agg(d.day #>> '{}', ',') from jsonb_path_query(p_interval, 'lax $.triggerAtDay[*]') as d (day)
  ), '0');
  v_cron constant text[] := regexp_split_to_array(btrim(coalesce(p_interval ->> 'expression', '')), E'\\s+');
  v_result text;
begin
  if v_count !~ '^[1-9][0-9]?$' or v_minute !~ '^[0-9][0-9]?$' or v_hour !~ '^[0-9][0-9]?$' then
    return null;
  end if;
  v_result := case v_field
    when 'cronExpression' then case
      when cardinality(v_cron) = 5 then array_to_string(v_cron, ' ')
      when cardinality(v_cron) = 6 and v_cron[1] = '0' then array_to_string(v_cron[2 : 6], ' ')
    end
    when 'minutes' then case when v_count::int < 60 then format('*/%s * * * *', v_count) end
    when 'hours' then case when 24 % v_count::int = 0 then format('%s */%s * * *', v_minute, v_count) end
    when 'days' then case when v_count = '1' then format('%s %s * * *', v_minute, v_hour) end
    when 'weeks' then case when v_count = '1' then format('%s %s * * %s', v_minute, v_hour, v_days) end
    when 'months' then case when v_count = '1' then format(
      '%s %s %s * *', v_minute, v_hour, coalesce(p_interval ->> 'triggerAtDayOfMonth', '1')
    ) end
  end;
  return case
    when v_field = 'seconds' and 60 % v_count::int = 0
      then jsonb_build_object('every', jsonb_build_object('n', v_count::int, 'unit', 'seconds'))
    when v_result is not null then jsonb_build_object('cron', replace(v_result, '*/1 ', '* '))
  end;
end
$$;

-- The rule of n8n's older Cron node in the form of the Schedule Trigger.
create or replace function private.n8n_cron_item(p_item jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'field', case coalesce(p_item ->> 'mode', 'everyDay')
      when 'everyMinute' then 'minutes' when 'everyHour' then 'hours' when 'everyDay' then 'days'
      when 'everyWeek' then 'weeks' when 'everyMonth' then 'months' when 'custom' then 'cronExpression'
      when 'everyX' then case coalesce(p_item ->> 'unit', 'hours') when 'minutes' then 'minutes' else 'hours' end
      else 'unknown'
    end,
    'minutesInterval', case p_item ->> 'mode' when 'everyX' then coalesce(p_item ->> 'value', '2') else '1' end,
    'hoursInterval', case p_item ->> 'mode' when 'everyX' then coalesce(p_item ->> 'value', '2') end,
    'triggerAtMinute', p_item -> 'minute', 'triggerAtHour', coalesce(p_item -> 'hour', '14'),
    'triggerAtDay', jsonb_build_array(coalesce(p_item -> 'weekday', '1')),
    'triggerAtDayOfMonth', p_item -> 'dayOfMonth', 'expression', p_item -> 'cronExpression'
  ))
$$;

create or replace function private.n8n_schedule(p_type text, p_parameters jsonb, p_zone text, p_path text[])
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_place constant text[] := case p_type when 'cron' then '{triggerTimes,item}' else '{rule,interval}' end;
  v_item constant text := case p_type
    when 'cron' then '{mode,minute,hour,weekday,dayOfMonth,cronExpression,value,unit}'
    else '{field,expression,secondsInterval,minutesInterval,hoursInterval,daysInterval,
      weeksInterval,monthsInterval,triggerAtMinute,triggerAtHour,triggerAtDay,triggerAtDayOfMonth}'
  end;
  v_known constant jsonb := jsonb_build_object(v_place[2], jsonb_build_object('*', (
    select jsonb_object_agg(k.key, jsonb_build_object(
      '=', jsonb_build_object('becomes', case k.key when 'triggerAtDay' then 'own' else 'literal' end)
    ))
    from unnest(v_item::text[]) as k (key)
  )));
  v_read constant record := private.n8n_read(
    coalesce(p_parameters -> v_place[1], '{}'), v_known, p_path || v_place[1], '{}'
  );
  v_list constant jsonb := v_read.kept -> v_place[2];
  v_first constant jsonb := coalesce(case jsonb_typeof(v_list -> 0) when 'object' then v_list -> 0 end, '{}');
  v_properties jsonb := private.n8n_interval(
    case p_type when 'cron' then private.n8n_cron_item(v_first) else v_first end
  );
  v_problems jsonb := v_read.problems;
begin
  if jsonb_typeof(v_list -> 1) = 'object' then
    v_problems := v_problems || private.n8n_problem(
      p_path || v_place || '{1}'::text[], 'a trigger has one interval here; add a workflow for each further one'
    );
  end if;
  if v_properties is null or v_read.problems <> '[]'
    or engine.schedule_problem(v_properties || jsonb_build_object('timezone', coalesce(p_zone, 'UTC'))) is not null
  then
    return jsonb_build_object('type', 'scheduleTrigger', 'problems', v_problems || private.n8n_problem(
      p_path || v_place || '{0}'::text[], 'the interval has no counterpart that fires at the same times'
    ));
  elsif p_zone is null and not v_properties ? 'every' and v_properties ->> 'cron' !~ E'^\\S+ \\* \\* \\* \\*$' then
    v_problems := v_problems || private.n8n_problem(
      '{settings,timezone}',
      'the export does not say in which time zone the schedule is read; it is UTC here'
    );
  end if;
  return jsonb_build_object(
    'type', 'scheduleTrigger', 'ports', '["main"]'::jsonb, 'problems', v_problems,
    'properties', v_properties || case when p_zone is not null then jsonb_build_object('timezone', p_zone) else '{}' end
  );
end
$$;

create or replace function private.n8n_respond(p_parameters jsonb, p_path text[], p_places jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_with constant text := coalesce(p_parameters ->> 'respondWith', 'firstIncomingItem');
  v_status constant text := coalesce(
    p_parameters #>> '{options,responseCode}', case v_with when 'redirect' then '307' else '200' end
  );
  v_headers constant record := private.n8n_pairs(
    p_parameters #> '{options,responseHeaders,entries}', p_path || '{options,responseHeaders,entries}'::text[], p_places
  );
  v_own jsonb := '{}';
  v_body jsonb;
begin
  case v_with
    when 'firstIncomingItem' then v_body := '"{{ $.prev }}"';
    when 'allIncomingItems' then v_body := '["{{ $.prev }}"]';
    when 'noData' then v_body := '""';
    when 'redirect' then
      v_body := '""';
      v_own := jsonb_build_object('location', private.n8n_value(p_parameters -> 'redirectURL', p_places));
    when 'text' then
      v_body := coalesce(private.n8n_value(p_parameters -> 'responseBody', p_places), '""');
      v_own := '{"content-type": "text/html; charset=utf-8"}';
    when 'json' then
      v_body := private.n8n_json(coalesce(p_parameters -> 'responseBody', 'null'), p_places) -> 'value';
      v_own := '{"content-type": "application/json; charset=utf-8"}';
    else null;
  end case;
  if v_with = 'json' and jsonb_typeof(v_body) = 'string' and v_body #>> '{}' !~ E'^\\{\\{' then
    v_body := null; -- a text is sent as it is, without quotes
  end if;
  if v_body is null or v_status !~ '^[2-5][0-9][0-9]$' or v_own -> 'location' = 'null'
    or private.n8n_value_problems(
      case v_with
        when 'text' then p_parameters -> 'responseBody' when 'redirect' then p_parameters -> 'redirectURL'
      end,
      p_path, p_places
    ) <> '[]'
  then
    return jsonb_build_object('type', 'respondToWebhook', 'problems', v_headers.problems || private.n8n_problem(
      p_path || '{respondWith}'::text[], 'the answer, or an expression of it, has no counterpart of the same meaning'
    ));
  end if;
  return jsonb_build_object(
    'type', 'respondToWebhook', 'ports', '["main"]'::jsonb, 'problems', v_headers.problems,
    'properties', jsonb_build_object('status', v_status::int, 'body', v_body)
      || case when v_own || v_headers.pairs <> '{}' then jsonb_build_object('headers', v_own || (
        -- Names of headers are compared without regard to case.
        select coalesce(jsonb_object_agg(lower(h.key collate "C"), h.value), '{}') from jsonb_each(v_headers.pairs) as h
      )) else '{}' end
  );
end
$$;
