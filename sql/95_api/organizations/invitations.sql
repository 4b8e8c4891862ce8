-- kind: code
-- Invitations to an organization: a code that is shown once, works once, expires after 7 days, and
-- works only for the owner of the address that it was sent to. Writes public.invitations,
-- private.invitation_codes, public.organization_users, private.sessions, private.throttles,
-- private.outbox. Every command locks the row of the organization first.

create or replace function public.invite_member(email text, role text default 'member')
  returns public.new_invitation
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_code constant text := private.random_secret(16);
  v_now constant timestamptz := engine.now();
  v_organization public.organizations;
  v_invitation public.invitations;
begin
  perform private.require_scope('organization:write');
  perform private.check_role(role);
  perform private.check_email(coalesce(email, ''));
  v_organization := private.lock_organization(v_organization_id);
  perform private.require_power_over(role);
  -- Limit mails to addresses whose owners have not asked for them.
  perform private.throttle(array['invite to', v_organization_id::text], 200, interval '1 hour');
  perform private.throttle(array['invite by user', public.current_user_id()::text], 200, interval '1 hour')
  where public.current_user_id() is not null;
  perform private.throttle(array['invite to', v_organization_id::text, lower(email collate "C")], 5, interval '1 hour');
  if exists (
    select
    from public.organization_users as m
    join public.users as u on u.id = m.user_id
    where m.organization_id = v_organization_id and lower(u.email collate "C") = lower(invite_member.email collate "C")
  ) then
    perform private.raise_error('CONFLICT', 'This person is a member already.', null, '{"field": "email"}');
  end if;
  update public.invitations as i
  set revoked_at = v_now
  where i.organization_id = v_organization_id
    and lower(i.email collate "C") = lower(invite_member.email collate "C")
    and i.accepted_at is null
    and i.revoked_at is null;
  insert into public.invitations (organization_id, email, role, invited_by, created_at, expires_at)
  values (
    v_organization_id, invite_member.email, invite_member.role, public.current_user_id(), v_now,
    v_now + interval '7 days'
  )
  returning * into v_invitation;
  insert into private.invitation_codes (organization_id, invitation_id, code_hash)
  values (v_organization_id, v_invitation.id, private.hash_secret(v_code));
  perform private.send_mail(
    -- Limit what one address gets from all organizations together; without the mail the code works
    -- as well.
    case when private.may_send('invite', email, public.current_user_id()) then email end,
    format('You are invited to %s', v_organization.name),
    format(
      'You are invited to join %s as %s. Log in with this address, or register it, and accept: '
      'accept_invitation(code). The code is %s and works for a week.',
      v_organization.name, role, v_code
    )
  );
  return row(v_code, v_invitation);
end
$$;
comment on function public.invite_member(text, text) is
  'Invites somebody by e-mail as owner, admin or member (the default), and mails the code. Returns the code, this once only. Replaces an open invitation of the same address. For admins; only owners invite owners. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, CONFLICT (a member already), RATE_LIMITED (more than 200 an hour by the organization or the person, or 5 to one address). Example: select code from invite_member(''bo@example.com'', ''admin'');';

create or replace function public.revoke_invitation(id uuid)
  returns public.invitations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_invitation public.invitations;
begin
  perform private.require_scope('organization:write');
  perform private.lock_organization(v_organization_id);
  perform private.require_role('admin');
  update public.invitations as i
  set revoked_at = coalesce(i.revoked_at, engine.now())
  where i.id = revoke_invitation.id and i.organization_id = v_organization_id and i.accepted_at is null
  returning * into v_invitation;
  if not found then
    if exists (
      select from public.invitations as i
      where i.id = revoke_invitation.id and i.organization_id = v_organization_id
    ) then
      perform private.raise_error('ALREADY_USED', 'The invitation was accepted.', 'Remove the member: remove_member.');
    end if;
    perform private.raise_error('NOT_FOUND', 'There is no such invitation in this organization.');
  end if;
  return v_invitation;
end
$$;
comment on function public.revoke_invitation(uuid) is
  'Revokes an invitation. Repeating it changes nothing. For admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, ALREADY_USED (it was accepted). Example: select revoke_invitation(''0190…'');';

-- Locks the organization before it reads the invitation, so that of two simultaneous calls the
-- second sees that the code was used.
create or replace function private.lock_invitation(p_code text)
  returns public.invitations
  language plpgsql
  volatile
as $$
declare
  v_invitation public.invitations;
begin
  perform private.lock_organization(c.organization_id)
  from private.invitation_codes as c
  where c.code_hash = private.hash_secret(p_code);
  select i.* into v_invitation
  from private.invitation_codes as c
  join public.invitations as i on i.organization_id = c.organization_id and i.id = c.invitation_id
  where c.code_hash = private.hash_secret(p_code);
  if v_invitation.id is null or v_invitation.revoked_at is not null then
    perform private.raise_error('NOT_FOUND', 'There is no such invitation.', 'Ask for a new one.');
  elsif v_invitation.accepted_at is not null then
    perform private.raise_error(
      'ALREADY_USED', 'The invitation was accepted.', null,
      jsonb_build_object('acceptedAt', v_invitation.accepted_at)
    );
  elsif v_invitation.expires_at <= engine.now() then
    perform private.raise_error('EXPIRED', 'The invitation has expired.', 'Ask for a new one.');
  end if;
  return v_invitation;
end
$$;
comment on function private.lock_invitation(text) is 'Returns the open invitation of a code, with its organization locked. Raises NOT_FOUND, ALREADY_USED, EXPIRED.';

create or replace function public.accept_invitation(code text)
  returns public.organization_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_invitation constant public.invitations := private.lock_invitation(code);
  v_member public.organization_users;
begin
  if not exists (
    select from public.users as u
    where u.id = v_context.user_id
      and lower(u.email collate "C") = lower(v_invitation.email collate "C")
      and u.email_verified_at is not null
  ) then
    perform private.raise_error(
      'FORBIDDEN',
      'The invitation is for another address, or yours is not verified.',
      'Log in with the address that it was sent to.'
    );
  end if;
  if not exists (
    select from public.organization_users as m
    where m.organization_id = v_invitation.organization_id
      and m.user_id = v_context.user_id
  ) then
    perform private.admit(v_invitation.organization_id, 'team_members');
  end if;
  insert into public.organization_users (organization_id, user_id, role, invited_by)
  values (v_invitation.organization_id, v_context.user_id, v_invitation.role, v_invitation.invited_by)
  on conflict (organization_id, user_id) do update set role = organization_users.role
  returning * into v_member;
  update public.invitations as i
  set accepted_at = engine.now()
  where i.id = v_invitation.id;
  update private.sessions as s
  set organization_id = v_member.organization_id
  where s.id = v_context.session_id and s.organization_id is null;
  return v_member;
end
$$;
comment on function public.accept_invitation(text) is
  'Makes the caller a member of the organization that invited their verified address. It becomes the active organization of a session that has none. Errors: UNAUTHENTICATED, FORBIDDEN (another address, or an API token), NOT_FOUND, ALREADY_USED, EXPIRED, LIMIT_REACHED (the plan has no room for another member; the invitation stays). Example: select role from accept_invitation(''3q2-7wAAAAAAAAAAAAAAAA'');';

grant execute on function
  public.invite_member(text, text),
  public.revoke_invitation(uuid),
  public.accept_invitation(text)
  to flowgres_user, flowgres_dba;
