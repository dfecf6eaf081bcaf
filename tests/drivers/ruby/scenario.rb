# What the Ruby programs share: the two tenants, checks and the runner. What the environment means: ../python/scenario.py.

CONTEXT = "current_setting('app.current_org_id', true)"
ACME = ["acme", ENV["DATABASE_URL"], ENV["EXPECT_TENANT_VALUE"]].freeze
GLOBEX = ["globex", ENV["OTHER_URL"], ENV["OTHER_EXPECT_TENANT_VALUE"]].freeze
SCENARIOS = {}

def scenario(name, &block) = SCENARIOS[name] = block

def skip(reason) = throw(:skip, reason)

def equal(got, want, what)
  raise "#{what}: expected #{want.inspect}, got #{got.inspect}" unless got == want
end

# Runs the scenarios named on the command line, or all; ends the program.
def run_scenarios
  outcomes = SCENARIOS.select { |name, _| ARGV.empty? || ARGV.include?(name) }.map do |name, block|
    reason = catch(:skip) { block.call && nil }
    puts reason ? "skip #{name}: #{reason}" : "ok #{name}"
    reason ? :skip : :ok
  rescue StandardError => problem
    puts "FAILED #{name}: #{problem.full_message(highlight: false)}"
    :failed
  end
  puts "#{outcomes.count(:ok)} passed, #{outcomes.count(:failed)} failed"
  exit outcomes.none?(:failed)
end
