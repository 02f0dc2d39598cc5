export function EmptyState({ listening }: { listening: boolean }) {
  return (
    <div className="empty">
      {listening ? (
        <p className="lead">Listening. Say something.</p>
      ) : (
        <>
          <p className="lead">Press Start and speak.</p>
          <p>Your words appear here as you say them. You can also drop a recording anywhere on this page.</p>
        </>
      )}
    </div>
  );
}
