/** The plan of the organization, and what of its limits is used. */
import { changePlan, planPage } from '../../api/generated.ts';
import { useChange, useRead } from '../../api/hooks.ts';
import { Button, ErrorNote, Skeleton, Status, Time } from '../../components/ui.tsx';
import { count } from '../../format.ts';
import { texts } from '../../texts.ts';

const t = texts.organization;

/** The tab. */
export function PlanTab() {
  const { data, error, isPending } = useRead(planPage, {});
  const change = useChange(changePlan);
  if (isPending) return <Skeleton />;
  const [subscription] = data?.planSubscriptions?.nodes ?? [];
  const plans = data?.plans?.nodes ?? [];
  return (
    <>
      <ErrorNote error={error ?? change.error} />
      <section className="card">
        <h2>{t.usage}</h2>
        <div className="usage">
          {(data?.entitlements?.nodes ?? []).map(({ metric, used, limit, resetsAt, isOver }) => (
            <div key={metric}>
              <div className="row">
                <strong>{t.metrics[metric] ?? metric}</strong>
                <span className="number">
                  {used === null ? t.notCounted : count(used)} / {limit === null ? t.unlimited : count(limit)}
                </span>
              </div>
              {limit !== null && (
                <meter
                  aria-label={t.metrics[metric] ?? metric}
                  value={Number(used ?? 0)}
                  max={Math.max(1, Number(limit))}
                  high={Number(limit) * 0.8}
                  optimum={0}
                />
              )}
              <p className="hint">
                {isOver && <Status status="error" />}
                {resetsAt && limit !== null && (
                  <>
                    {t.resets} <Time at={resetsAt} />
                  </>
                )}
              </p>
            </div>
          ))}
        </div>
      </section>
      <h2>{t.plan}</h2>
      {plans.length === 0 && <p className="hint">{t.noPlan}</p>}
      <div className="side-by-side">
        {plans.map(({ id, name, slug, description, priceCents, currency, billingInterval }) => (
          <section key={id} className="card">
            <h2>{name}</h2>
            <p>{description}</p>
            <p className="number">
              {priceCents === null ? '' : `${(Number(priceCents) / 100).toFixed(2)} ${currency} / ${billingInterval}`}
            </p>
            {subscription?.plan?.slug === slug ? (
              <span className="tag">
                {t.chosen}, {subscription.status}
              </span>
            ) : (
              <Button busy={change.isPending} onClick={() => change.mutate({ plan: slug })}>
                {t.choose}
              </Button>
            )}
          </section>
        ))}
      </div>
    </>
  );
}
